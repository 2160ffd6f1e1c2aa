// `kvcommons bench`: the daemon's paths, each next to its bound on the same machine in the same
// run.
//
// A figure is a median over repeats in which path and bound take turns, with its spread; bytes that
// come back are compared with what was uploaded, so a fast wrong answer is a failure.

#pragma once

#include <span>

#include "client/command/commands.h"

namespace kvcommons {

// What --help lists and the command runs by default, in order.
std::span<const char* const> BenchNames();

int RunBench(const CommandContext& context);

}  // namespace kvcommons
