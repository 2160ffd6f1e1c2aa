// Work of the schema: one claimed preparation. See rpc_session.h.

#pragma once

#include <memory>

#include "daemon/session_state.h"
#include "daemon/work_upload.h"
#include "schema/kvcommons.capnp.h"

namespace kvcommons {

rpc::Work::Client MakeWorkCapability(std::unique_ptr<Counted> ticket,
                                     std::shared_ptr<WorkUpload> upload);

}  // namespace kvcommons
