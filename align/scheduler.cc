#include "align/scheduler.h"

#include <algorithm>
#include <string>
#include <tuple>
#include <unordered_map>

namespace kvcommons {
namespace {

Status Limit(const std::string& name, std::uint64_t value, const std::string& limit) {
  return InvalidArgument(name + " is " + std::to_string(value) + "; the limit is " + limit);
}

std::uint64_t TokensOf(const WaitingRequest& request) {
  std::uint64_t tokens = request.fresh_tokens;
  for (const RequestContent& content : request.contents) tokens += content.tokens;
  return tokens;
}

Status Check(const SchedulerOptions& options, std::span<const WaitingRequest> waiting) {
  if (options.batch_requests < 1 || options.batch_requests > kMaxBatchRequests) {
    return Limit("batch_requests", options.batch_requests,
                 "1 to " + std::to_string(kMaxBatchRequests));
  }
  if (options.head_start_us < 0 || options.head_start_us > kMaxHeadStartUs) {
    return InvalidArgument("head_start_us is " + std::to_string(options.head_start_us) +
                           "; the limit is 0 to " + std::to_string(kMaxHeadStartUs));
  }
  if (waiting.size() > kMaxWaitingRequests) {
    return Limit("waiting.size()", waiting.size(), std::to_string(kMaxWaitingRequests));
  }
  std::size_t contents = 0;
  for (std::size_t i = 0; i < waiting.size(); ++i) {
    const std::string name = "waiting[" + std::to_string(i) + "]";
    if (waiting[i].arrival_us < 0) {
      return InvalidArgument(name + ".arrival_us is " + std::to_string(waiting[i].arrival_us) +
                             "; it is 0 or more");
    }
    contents += waiting[i].contents.size();
    if (waiting[i].contents.size() > kMaxRequestContents) {
      return Limit(name + ".contents.size()", waiting[i].contents.size(),
                   std::to_string(kMaxRequestContents));
    }
    const std::uint64_t tokens = TokensOf(waiting[i]);
    if (tokens < 1 || tokens > kMaxRequestTokens) {
      return Limit(name + "'s tokens", tokens, "1 to " + std::to_string(kMaxRequestTokens));
    }
  }
  if (contents > kMaxWaitingContents) {
    return Limit("contents of all requests", contents, std::to_string(kMaxWaitingContents));
  }
  return Status();
}

// The waiting tenant with the next number, around the end.
std::uint32_t NextTenant(std::span<const WaitingRequest> waiting,
                         std::optional<std::uint32_t> last) {
  std::optional<std::uint32_t> lowest, next;
  for (const WaitingRequest& request : waiting) {
    lowest = std::min(request.tenant, lowest.value_or(request.tenant));
    if (last && request.tenant > *last)
      next = std::min(request.tenant, next.value_or(request.tenant));
  }
  return next.value_or(lowest.value_or(0));
}

// One tenant's requests: what of each is cached, or will be once those that were taken have run.
class Turn {
 public:
  Turn(const SchedulerOptions& options, std::span<const WaitingRequest> waiting,
       std::uint32_t tenant)
      : options_(options), waiting_(waiting) {
    for (std::size_t i = 0; i < waiting.size(); ++i) {
      if (waiting[i].tenant != tenant) continue;
      Candidate candidate{i, 0, TokensOf(waiting[i])};
      for (const RequestContent& content : waiting[i].contents) {
        if (content.cached) {
          candidate.hit_tokens += content.tokens;
        } else {
          wanted_by_[content.key].push_back({candidates_.size(), content.tokens});
        }
      }
      candidates_.push_back(candidate);
    }
  }

  bool empty() const { return candidates_.size() == taken_; }

  std::size_t TakeBest() {
    std::size_t best = candidates_.size();
    for (std::size_t c = 0; c < candidates_.size(); ++c) {
      if (candidates_[c].taken) continue;
      if (best == candidates_.size() || KeyOf(candidates_[c]) < KeyOf(candidates_[best])) best = c;
    }
    candidates_[best].taken = true;
    ++taken_;
    for (const RequestContent& content : waiting_[candidates_[best].index].contents) {
      const auto wanted = wanted_by_.find(content.key);
      if (wanted == wanted_by_.end()) continue;
      for (const auto& [c, tokens] : wanted->second) candidates_[c].hit_tokens += tokens;
      wanted_by_.erase(wanted);
    }
    return candidates_[best].index;
  }

 private:
  struct Candidate {
    std::size_t index;  // into waiting_
    std::uint64_t hit_tokens, tokens;
    bool taken = false;
  };

  // In whole microseconds: a rounded product could let a request overtake one too early. 2^24
  // tokens by 3.6e9 us fit 64 bits.
  std::tuple<std::int64_t, std::int64_t, std::size_t> KeyOf(const Candidate& candidate) const {
    const std::int64_t arrival_us = waiting_[candidate.index].arrival_us;
    const std::uint64_t head_start_us = static_cast<std::uint64_t>(options_.head_start_us) *
                                        candidate.hit_tokens / candidate.tokens;
    return {arrival_us - static_cast<std::int64_t>(head_start_us), arrival_us, candidate.index};
  }

  const SchedulerOptions& options_;
  const std::span<const WaitingRequest> waiting_;
  std::vector<Candidate> candidates_;
  std::size_t taken_ = 0;
  // By content that is not cached: candidate and tokens.
  std::unordered_map<ContentKey, std::vector<std::pair<std::size_t, std::uint32_t>>> wanted_by_;
};

}  // namespace

Result<std::optional<ScheduledBatch>> NextBatch(const SchedulerOptions& options,
                                                std::span<const WaitingRequest> waiting,
                                                std::optional<std::uint32_t> last_tenant) {
  KVC_FAIL_IF_ERROR(Check(options, waiting));
  if (waiting.empty()) return std::optional<ScheduledBatch>();
  ScheduledBatch batch;
  batch.tenant = NextTenant(waiting, last_tenant);
  Turn turn(options, waiting, batch.tenant);
  while (batch.requests.size() < options.batch_requests && !turn.empty()) {
    batch.requests.push_back(turn.TakeBest());
  }
  return std::optional(std::move(batch));
}

}  // namespace kvcommons
