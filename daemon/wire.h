// Between messages and our own types. Everything that comes from a client is checked here, once,
// and refused with field, value and limit.
//
// Thread safety: pure functions. Readers are read once: each access counts against the message's
// limit.

#pragma once

#include "align/gate.h"
#include "align/model_profile.h"
#include "base/ids.h"
#include "base/status.h"
#include "daemon/plan_maker.h"
#include "schema/kvcommons.capnp.h"

namespace kvcommons {

inline constexpr std::uint32_t kMaxOmegaCount = 512;
inline constexpr std::size_t kMaxClientNameBytes = 128;
inline constexpr double kMaxCostUs = 1e9;

void WriteError(rpc::Error::Builder builder, const Status& status);

// "field is 5; the limit is 1 to 4".
Status OutOfRange(std::string_view field, std::uint64_t value, std::uint64_t min,
                  std::uint64_t max);

Result<ModelProfile> ReadProfile(rpc::ModelProfile::Reader reader);
Result<GateReport> ReadGate(rpc::GateReport::Reader reader);
Result<std::vector<TokenId>> ReadTokens(capnp::List<std::int32_t>::Reader reader,
                                        const ModelProfile& profile);
Result<std::vector<TokenId>> ReadTokens(std::string_view field,
                                        capnp::List<std::int32_t>::Reader reader,
                                        std::size_t min_tokens, std::size_t max_tokens,
                                        const ModelProfile& profile);
// kInvalidArgument: negative, not finite or too large; `costs` may have changed.
Status ReadCosts(rpc::CostModel::Reader reader, CostModel& costs);
// A sum of bits 1 << RootKind, or 0.
Status CheckVariants(std::uint32_t variants);
Result<PromptRequest> ReadPlanRequest(rpc::PlanRequest::Reader reader, const ModelProfile& profile);

// Everything but tookUs.
void WritePlan(const PreparedPlan& plan, rpc::PlanReply::Builder builder);

// 32 hexadecimal digits to 16 bytes.
Result<std::array<std::uint8_t, 16>> ParseKey(std::string_view hex, const char* field = "key");

template <typename Id>
Id ReadHash(rpc::Hash128::Reader reader) {
  const std::uint64_t halves[2] = {reader.getLow(), reader.getHigh()};
  Id id;
  static_assert(sizeof halves == sizeof id.bytes);
  std::memcpy(id.bytes.data(), halves, sizeof halves);
  return id;
}

template <typename Tag>
void WriteHash(const Id128<Tag>& id, rpc::Hash128::Builder builder) {
  std::uint64_t halves[2];
  static_assert(sizeof halves == sizeof id.bytes);
  std::memcpy(halves, id.bytes.data(), sizeof halves);
  builder.setLow(halves[0]);
  builder.setHigh(halves[1]);
}

}  // namespace kvcommons
