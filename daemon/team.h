// Team: agents of one tenant and model that read the same contents, as the daemon sees them.
//
// A team is a name under which means are learned, and the templates its agents put. Templates live
// as long as the team is open: whoever plans puts its own first. Thread safety: every method may be
// called from any thread.

#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "align/anchors/anchor_ledger.h"
#include "align/anchors/prompt_template.h"
#include "base/mutex.h"
#include "daemon/prompt.h"
#include "daemon/team_pool.h"

namespace kvcommons {

using TokenList = std::vector<TokenId>;
// How a content's own rows were made: behind that lead-in, or as a producer's answer. Kinds never
// meet: their rows differ, and so do offsets from them (specs: KVCOMM §10, D11).
using BaseKind = Id128<struct BaseKindTag>;

struct TeamContentRef {
  ContentKey content;
  TokenList tokens;
  BaseKind kind;
  bool is_answer = false;
};

// An answer's id says in its first bit whether its producer ran on corrected rows, which its own
// inherit the error of.
inline bool IsOfCorrectedRows(const TeamContentRef& content) {
  return content.is_answer && (content.content.bytes[0] & 1) != 0;
}

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
  static constexpr std::size_t kMaxTemplateTokens = std::size_t{1} << 22;  // of all of them

  // Of any session's model: all of one fingerprint and tenant hash alike. What else a session's
  // model says (its context, its gate) holds for that session alone, and is handed in by it.
  Team(const OpenedModel& model, std::string name, std::shared_ptr<TeamPool> pool)
      : hasher_(model.hasher),
        block_tokens_(model.profile.block_tokens),
        name_(std::move(name)),
        pool_(std::move(pool)) {}

  const std::string& name() const { return name_; }
  TeamPool& pool() const { return *pool_; }

  // The least recently used leaves where there are too many. kInvalidArgument: CheckTemplate
  // refuses it, or it is longer than `context_tokens`.
  Result<AgentTemplatePtr> Put(std::string agent, std::vector<TokenList> segments,
                               std::vector<std::string> slots, std::uint32_t context_tokens)
      EXCLUDES(mutex_);
  // Null: it was not put since the team was opened, or left.
  AgentTemplatePtr Find(const ReaderKey& version) EXCLUDES(mutex_);

  MeanKey KeyOfMean(const AgentTemplate& shape, std::size_t slot, const BaseKind& kind) const;
  // Of a slot's anchors, whoever reads them.
  SlotKey KeyOfSlot(const AgentTemplate& shape, std::size_t slot, const BaseKind& kind) const;
  BaseKind KindOfTexts(const TokenList& lead_in) const;
  BaseKind KindOfAnswers() const;
  // The template's own text behind a slot, as a content; its rows are those of the prompt with
  // nothing in its slots. Of this template alone.
  TeamContentRef TextBehind(const AgentTemplate& shape, std::size_t slot) const;
  // What a prompt's text stands behind: the tokens of all contents before it.
  ContentKey KeyOfContext(std::span<const TeamContentRef> contents) const;
  // A text's own rows are named by the text; an answer's by all that they were computed from.
  // `corrected`: its prompt had corrected rows.
  ContentKey KeyOfText(const TokenList& tokens) const;
  ContentKey KeyOfAnswer(std::string_view computed_from, bool corrected) const;
  // Blocks of a content's own rows.
  std::vector<BlockKey> BaseBlocks(const TeamContentRef& content) const;

  void CountPlan(bool reused) {
    ++plans_;
    if (reused) ++reused_;
  }
  std::uint64_t plans() const { return plans_; }
  std::uint64_t reused() const { return reused_; }

 private:
  struct Held {
    AgentTemplatePtr shape;
    std::size_t tokens = 0;
    std::uint64_t last_use = 0;
  };

  const ChainHasher hasher_;
  const std::size_t block_tokens_;
  const std::string name_;
  const std::shared_ptr<TeamPool> pool_;
  std::atomic<std::uint64_t> plans_{0}, reused_{0};
  mutable Mutex mutex_;
  std::map<ReaderKey, Held> templates_ GUARDED_BY(mutex_);
  std::size_t template_tokens_ GUARDED_BY(mutex_) = 0;
  std::uint64_t uses_ GUARDED_BY(mutex_) = 0;
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
