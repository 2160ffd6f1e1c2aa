// The program `kvcommons` without its main(): parses, connects, runs one command, answers the exit
// code.
//
// Results go to `out`, failures and progress to `err`. A failure names what failed and what to do
// next.

#pragma once

#include <ostream>

namespace kvcommons {

int RunCommandLine(int argc, const char* const* argv, std::ostream& out, std::ostream& err);

}  // namespace kvcommons
