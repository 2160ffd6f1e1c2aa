// The small model that tests of the daemon plan and prepare for, without the wire.

#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "daemon/prompt.h"
#include "daemon/tenant.h"
#include "store/store.h"

namespace kvcommons {

// One layer, one head of 8, blocks of 16 tokens, 1,000 words; models of other numeric classes have
// other fingerprints.
inline std::shared_ptr<const OpenedModel> SmallModel(Store& store, std::uint64_t uid,
                                                     std::uint32_t context_tokens,
                                                     const std::string& numeric_class = "test/1") {
  ModelProfile profile;
  profile.name = "test";
  profile.numeric_class = numeric_class;
  profile.layer_count = 1;
  profile.kv_head_count = 1;
  profile.head_dim = 8;
  profile.rotary_dim = 8;
  profile.block_tokens = 16;
  profile.context_tokens = context_tokens;
  profile.vocabulary_size = 1000;
  profile.omega = {1, 0.5f, 0.25f, 0.125f};
  GateReport gate;
  gate.passed = true;
  const Tenant tenant = TenantOfUid(uid);
  return std::make_shared<const OpenedModel>(tenant, profile, gate,
                                             store.SecretOf(tenant.domain).value());
}

}  // namespace kvcommons
