// Between our types and the protocol's messages: requests are filled, replies are checked.
//
// Guarantee: what ReadPlan returns can be followed without looking again: its spans cover the
// prompt once, each reused row lies inside one block and each block inside its slab. A reply that
// says anything else is a failure, never a wild pointer. Readers of messages throw kj::Exception on
// malformed ones: call these inside Connection::Guarded.

#pragma once

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "client/client.h"
#include "client/mapping.h"
#include "schema/kvcommons.capnp.h"

namespace kvcommons {

// The daemon's failure as ours. REQUIRES: it was present in the reply.
Status StatusOf(rpc::Error::Reader error);

std::string HexOf(rpc::Hash128::Reader hash);
Fingerprint FingerprintOf(rpc::Hash128::Reader hash);
DaemonInfo InfoOf(rpc::DaemonInfo::Reader info);

void FillProfile(const ModelProfile& profile, rpc::ModelProfile::Builder message);
void FillGate(const GateReport& gate, rpc::GateReport::Builder message);
// Here already, since an oversized message would cost the connection, not only the call.
Status CheckTokens(std::span<const TokenId> tokens, const ModelProfile& profile);
// REQUIRES: as many as the new list has.
void FillTokens(std::span<const TokenId> tokens, capnp::List<std::int32_t>::Builder list);
void FillCosts(const CostModel& costs, rpc::CostModel::Builder message);
void FillPlanRequest(const PlanRequest& request, rpc::PlanRequest::Builder message);

// Where a slab is mapped, by its id.
using SlabFinder = std::function<Result<std::shared_ptr<Mapping>>(std::uint32_t slab_id)>;

// Checks a plan's reply against the prompt's length and the model, fills the public fields of
// `plan` and appends to `slabs` what the plan points into. kInternal or kCorrupted: the reply is
// refused.
Status ReadPlan(rpc::PlanReply::Reader reply, const ModelProfile& profile, std::size_t token_count,
                const SlabFinder& find_slab, PlanHandle& plan,
                std::vector<std::shared_ptr<Mapping>>& slabs);

std::string TextFrom(capnp::Text::Reader text);
// kEmpty: one that this client does not know.
RootKind RootKindOf(std::uint8_t kind);
LibraryListing ListingOf(rpc::LibraryDocument::Reader message);
Listing ListingOf(capnp::List<rpc::BlockInfo>::Reader blocks,
                  capnp::List<rpc::DocumentInfo>::Reader documents);

}  // namespace kvcommons
