// Plan and Model of the schema: planning, and the lease with its commits. See rpc_session.h.

#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "base/clock.h"
#include "daemon/plan_maker.h"
#include "daemon/prompt.h"
#include "daemon/session_state.h"
#include "daemon/wire.h"
#include "schema/kvcommons.capnp.h"

namespace kvcommons {

rpc::Model::Client MakeModelCapability(std::unique_ptr<Counted> ticket,
                                       std::shared_ptr<const OpenedModel> model);

inline double MicrosecondsSince(const Clock& clock, std::int64_t start_ns) {
  return static_cast<double>(clock.NowNs() - start_ns) / 1e3;
}

// Answers a call with a failure, and counts it.
template <typename Context>
kj::Promise<void> RefuseCall(Services& services, Context& context, const Status& status) {
  services.metrics.CountError(status.code());
  WriteError(context.getResults().initError(), status);
  return kj::READY_NOW;
}

// The plan's capability; fills `reply`.
rpc::Plan::Client MakePlanCapability(std::unique_ptr<Counted> ticket, PreparedPlan prepared,
                                     std::int64_t start_ns, rpc::PlanReply::Builder reply);

// Answers a call that asks for a plan, from a worker when `maker` has to block. `on_plan` is told
// the plan that is answered.
template <typename Context, typename OnPlan>
kj::Promise<void> AnswerPlan(Context context, const std::shared_ptr<SessionState>& session,
                             std::shared_ptr<PlanMaker> maker, std::int64_t start_ns,
                             OnPlan on_plan) {
  Services& services = session->services;
  auto ticket = TakeCounted(session, &SessionState::leases, "plans", services.config.max_leases);
  if (!ticket) return RefuseCall(services, context, ticket.error());
  auto answer = [context, start_ns, on_plan](PlanMaker& made,
                                             std::unique_ptr<Counted> lease) mutable {
    PreparedPlan plan = made.Take();
    on_plan(plan);
    auto results = context.getResults();
    auto reply = results.initReply();
    results.setPlan(MakePlanCapability(std::move(lease), std::move(plan), start_ns, reply));
  };
  const Result<bool> made = maker->Make(false);
  if (!made) return RefuseCall(services, context, made.error());
  if (*made) {
    answer(*maker, std::move(*ticket));
    return kj::READY_NOW;
  }
  return services.workers.Run([maker] { return maker->Make(true); })
      .then([&services, context, maker, answer,
             lease = std::move(*ticket)](Result<bool> done) mutable -> kj::Promise<void> {
        if (!done) return RefuseCall(services, context, done.error());
        answer(*maker, std::move(lease));
        return kj::READY_NOW;
      });
}

}  // namespace kvcommons
