// Plan and Model of the schema: planning, and the lease with its commits. See rpc_session.h.

#pragma once

#include <memory>

#include "daemon/prompt.h"
#include "daemon/session_state.h"
#include "schema/kvcommons.capnp.h"

namespace kvcommons {

rpc::Model::Client MakeModelCapability(std::shared_ptr<SessionState> session,
                                       std::shared_ptr<const OpenedModel> model);

}  // namespace kvcommons
