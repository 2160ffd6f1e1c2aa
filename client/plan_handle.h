// A plan with its lease, and the commit of what was computed for it.

#pragma once

#include <memory>

#include "client/client.h"
#include "client/connection.h"

namespace kvcommons {

// Asks `model` for a plan and checks the reply. REQUIRES: request.tokens was checked.
Result<std::unique_ptr<PlanHandle>> MakePlanHandle(std::shared_ptr<Connection> connection,
                                                   rpc::Model::Client& model,
                                                   std::shared_ptr<const ModelProfile> profile,
                                                   const PlanRequest& request);

// The same of a library, with policy kCompose.
Result<std::unique_ptr<PlanHandle>> MakePlanHandle(std::shared_ptr<Connection> connection,
                                                   rpc::Library::Client& library,
                                                   std::shared_ptr<const ModelProfile> profile,
                                                   const PlanRequest& request);

// Of a plan that was answered already. REQUIRES: inside Guarded().
Result<std::unique_ptr<PlanHandle>> TakePlanHandle(std::shared_ptr<Connection> connection,
                                                   std::shared_ptr<const ModelProfile> profile,
                                                   rpc::PlanReply::Reader reply,
                                                   rpc::Plan::Client plan, std::size_t token_count);

}  // namespace kvcommons
