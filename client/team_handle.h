// A team's capability as a handle.

#pragma once

#include <memory>

#include "client/connection.h"
#include "client/team.h"

namespace kvcommons {

Result<std::unique_ptr<TeamHandle>> MakeTeamHandle(std::shared_ptr<Connection> connection,
                                                   rpc::Model::Client& model,
                                                   std::shared_ptr<const ModelProfile> profile,
                                                   const TeamSettings& settings);

}  // namespace kvcommons
