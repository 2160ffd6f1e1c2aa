// The program `kvcommons`.

#include <iostream>

#include "client/command/command_line.h"

int main(int argc, char** argv) {
  return kvcommons::RunCommandLine(argc, argv, std::cout, std::cerr);
}
