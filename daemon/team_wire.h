// Between a team's messages and our own types: wire.h for the rest.
//
// Thread safety: pure functions.

#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "daemon/team.h"
#include "daemon/team_deposit.h"
#include "daemon/team_plan.h"
#include "schema/kvcommons.capnp.h"

namespace kvcommons {

// 1 to MeanSnapshot::kMaxNameBytes bytes.
Result<std::string> ReadTeamName(std::string_view field, capnp::Text::Reader text);
Result<TeamOptions> ReadTeamOptions(rpc::TeamOptions::Reader reader, const ModelProfile& profile);
Result<AgentTemplatePtr> ReadAndPutTemplate(rpc::TeamTemplate::Reader reader,
                                            const ModelProfile& profile, Team& team);
Status NoSuchVersion(const ReaderKey& version);
// Fills in the prompt. kNotFound: the version was not put.
Result<TeamPlanRequest> ReadTeamPlanRequest(rpc::TeamPlanRequest::Reader reader,
                                            const ModelProfile& profile, Team& team,
                                            const TeamOptions& options);

void WriteTeamPlan(const TeamPlan& plan, rpc::TeamPlanInfo::Builder builder);
void WriteTeamStatus(const std::vector<TeamPool::Row>& means, const TeamPool::Totals& totals,
                     const Team& team, rpc::TeamStatus::Builder builder);

}  // namespace kvcommons
