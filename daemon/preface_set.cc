#include "daemon/preface_set.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/assert.h"
#include "daemon/wire.h"
#include "store/library.h"

namespace kvcommons {
namespace {

void Append(TokenList& to, const TokenList& from, std::size_t limit) {
  const auto count = static_cast<std::ptrdiff_t>(std::min(limit, from.size()));
  to.insert(to.end(), from.begin(), from.begin() + count);
}

}  // namespace

std::size_t PrefaceSet::LongestTokens() const {
  return std::max(sink_tokens.size(),
                  system_tokens.size() + std::size_t{passages_per_preface} * preface_tokens);
}

std::size_t PrefaceSet::TotalTokens() const {
  std::size_t total = sink_tokens.size() + system_tokens.size();
  for (const TokenList& passage : neutral) total += passage.size();
  return total;
}

Status CheckPrefaceSet(const PrefaceSet& set, std::uint32_t context_tokens) {
  if (set.prefaces < 1 || set.prefaces > PrefaceSet::kMaxPrefaces) {
    return OutOfRange("prefaces", set.prefaces, 1, PrefaceSet::kMaxPrefaces);
  }
  if (set.passages_per_preface < 1 ||
      set.passages_per_preface > PrefaceSet::kMaxPassagesPerPreface) {
    return OutOfRange("passagesPerPreface", set.passages_per_preface, 1,
                      PrefaceSet::kMaxPassagesPerPreface);
  }
  if (set.preface_tokens < 1 || set.preface_tokens > PrefaceSet::kMaxPrefaceTokens) {
    return OutOfRange("prefaceTokens", set.preface_tokens, 1, PrefaceSet::kMaxPrefaceTokens);
  }
  const std::size_t wanted = std::size_t{set.prefaces} * set.passages_per_preface;
  if (set.neutral.size() < wanted || set.neutral.size() > PrefaceSet::kMaxPassages) {
    return OutOfRange("neutral's length", set.neutral.size(), wanted, PrefaceSet::kMaxPassages);
  }
  for (std::size_t i = 0; i < set.neutral.size(); ++i) {
    if (set.neutral[i].empty() || set.neutral[i].size() > set.preface_tokens) {
      return OutOfRange("neutral[" + std::to_string(i) + "]'s length", set.neutral[i].size(), 1,
                        set.preface_tokens);
    }
  }
  if (set.TotalTokens() > PrefaceSet::kMaxTokens) {
    return OutOfRange("tokens of the preface set", set.TotalTokens(), 0, PrefaceSet::kMaxTokens);
  }
  if (set.LongestTokens() < context_tokens) return Status();
  return OutOfRange("tokens of the longest preface", set.LongestTokens(), 0, context_tokens - 1);
}

PrefaceRoots::PrefaceRoots(PrefaceSet set, const ChainHasher& hasher) : set_(std::move(set)) {
  for (const RootKind kind :
       {RootKind::kSink, RootKind::kSystem, RootKind::kWarm, RootKind::kMean}) {
    roots_[static_cast<std::size_t>(kind)] = hasher.RootOf(kind, Prefaces(kind));
  }
}

TokenList PrefaceRoots::Preface(std::size_t first_passage) const {
  TokenList preface = set_.system_tokens;
  for (std::size_t i = 0; i < set_.passages_per_preface; ++i) {
    Append(preface, set_.neutral[first_passage + i], set_.preface_tokens);
  }
  return preface;
}

std::vector<TokenList> PrefaceRoots::Prefaces(RootKind kind) const {
  if (kind == RootKind::kSink) return {set_.sink_tokens};
  if (kind == RootKind::kSystem) return {set_.system_tokens};
  if (kind == RootKind::kWarm) return {Preface(0)};
  KVC_ASSERT(kind == RootKind::kMean);
  return NearPrefaces({});
}

std::size_t PrefaceRoots::NeighbourLimit() const {
  const std::size_t places = std::size_t{(set_.prefaces + 1) / 2} * set_.passages_per_preface;
  return std::min(places, LibraryDocument::kMaxNeighbours);
}

std::vector<TokenList> PrefaceRoots::NearPrefaces(std::span<const TokenList> neighbours) const {
  const std::size_t passages = set_.passages_per_preface;
  std::vector<TokenList> prefaces;
  for (std::size_t p = 0; p < set_.prefaces; ++p) {
    const std::size_t near = p % 2 == 0 ? std::min(passages, neighbours.size()) : 0;
    TokenList preface = set_.system_tokens;
    for (std::size_t i = 0; i < passages; ++i) {
      Append(preface,
             i < near ? neighbours[(p / 2 * passages + i) % neighbours.size()]
                      : set_.neutral[p * passages + i],
             set_.preface_tokens);
    }
    prefaces.push_back(std::move(preface));
  }
  return prefaces;
}

}  // namespace kvcommons
