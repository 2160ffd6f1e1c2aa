// Team: agents of one tenant and model that read the same contents, as the daemon sees them.
//
// A team is a name under which means are learned, and the templates its agents put. Templates live
// as long as the team is open: whoever plans puts its own first. Thread safety: every method may be
// called from any thread.

#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "align/anchors/anchor_ledger.h"
#include "align/anchors/prompt_template.h"
#include "base/mutex.h"
#include "daemon/prompt.h"
#include "daemon/team_pool.h"

namespace kvcommons {

using TokenList = std::vector<TokenId>;

struct TeamOptions {
  static constexpr std::size_t kMaxLeadInTokens = 1024;
  static constexpr std::uint32_t kMaxLeastDeposits = 64;

  TokenList lead_in;
  std::uint32_t least_deposits = 4;
  bool keeps_anchors = false;
};

// One version of an agent's prompt: text and the slots between.
struct AgentTemplate {
  ReaderKey version;
  std::string agent;
  std::vector<TokenList> segments;  // p0 … pn
  PromptTemplate shape;             // as if computed with nothing in its slots
};
using AgentTemplatePtr = std::shared_ptr<const AgentTemplate>;

class Team {
 public:
  static constexpr std::size_t kMaxTemplates = 256;

  Team(std::shared_ptr<const OpenedModel> model, std::string name, std::shared_ptr<TeamPool> pool)
      : model_(std::move(model)), name_(std::move(name)), pool_(std::move(pool)) {}

  const OpenedModel& model() const { return *model_; }
  const std::shared_ptr<const OpenedModel>& shared_model() const { return model_; }
  const std::string& name() const { return name_; }
  TeamPool& pool() const { return *pool_; }

  // kInvalidArgument: CheckTemplate refuses it, or it does not fit the context; kExhausted: the
  // team has kMaxTemplates.
  Result<AgentTemplatePtr> Put(std::string agent, std::vector<TokenList> segments,
                               std::vector<std::string> slots) EXCLUDES(mutex_);
  // Null: it was not put since the team was opened.
  AgentTemplatePtr Find(const ReaderKey& version) const EXCLUDES(mutex_);

  MeanKey KeyOfMean(const AgentTemplate& shape, std::size_t slot, bool of_answers) const;
  // Of a slot's anchors, whoever reads them.
  SlotKey KeyOfSlot(const AgentTemplate& shape, std::size_t slot, bool of_answers) const;
  // A text's own rows are named by the text and by what they are computed behind.
  ContentKey KeyOfText(const TokenList& lead_in, const TokenList& tokens) const;
  // Blocks of a content's own rows.
  std::vector<BlockKey> BaseBlocks(const ContentKey& content, std::size_t tokens) const;

  void CountPlan(bool reused) {
    ++plans_;
    if (reused) ++reused_;
  }
  std::uint64_t plans() const { return plans_; }
  std::uint64_t reused() const { return reused_; }

 private:
  const std::shared_ptr<const OpenedModel> model_;
  const std::string name_;
  const std::shared_ptr<TeamPool> pool_;
  std::atomic<std::uint64_t> plans_{0}, reused_{0};
  mutable Mutex mutex_;
  std::map<ReaderKey, AgentTemplatePtr> templates_ GUARDED_BY(mutex_);
};

// The teams that sessions have open, so that those of one name are one.
class TeamRegistry {
 public:
  static constexpr std::size_t kMaxTeamsOfDomain = 256;

  TeamRegistry(Store& store, std::uint64_t limit_bytes) : pools_(store, limit_bytes) {}

  // Blocks on the disk at a tenant's first. kExhausted: the tenant has kMaxTeamsOfDomain in use.
  Result<std::shared_ptr<Team>> Open(const std::shared_ptr<const OpenedModel>& model,
                                     const std::string& name) EXCLUDES(mutex_);
  // What the tenant's teams learned. Blocks on the disk the first time.
  std::shared_ptr<TeamPool> PoolOf(const DomainId& domain) { return pools_.Open(domain); }

 private:
  TeamPools pools_;
  Mutex mutex_;
  std::map<std::tuple<DomainId, Fingerprint, std::string>, std::weak_ptr<Team>> teams_
      GUARDED_BY(mutex_);
};

}  // namespace kvcommons
