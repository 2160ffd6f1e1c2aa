// llama.cpp's log, silenced: its last complaint goes into our error messages instead.
//
// llama.cpp has one log for the process, so this is one for the process too. Thread safe.

#pragma once

#include <string>

namespace kvcommons {

// Starts llama.cpp's back ends and takes over its log; the first call does it, later ones nothing.
void StartLlama();

// The last warning or error since the previous call, without its line end; empty if there was none.
std::string TakeLlamaComplaint();

}  // namespace kvcommons
