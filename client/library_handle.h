// A library's capability as a handle.

#pragma once

#include <memory>

#include "client/connection.h"
#include "client/library.h"

namespace kvcommons {

Result<std::unique_ptr<LibraryHandle>> MakeLibraryHandle(
    std::shared_ptr<Connection> connection, rpc::Model::Client& model,
    std::shared_ptr<const ModelProfile> profile, const LibraryPrefaces& prefaces);

}  // namespace kvcommons
