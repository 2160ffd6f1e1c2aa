#include "daemon/library_budget.h"

#include <string>

#include "base/assert.h"

namespace kvcommons {

std::uint64_t LibraryBudget::HeldBy(const DomainId& domain) const {
  const auto found = domain_tokens_.find(domain);
  return found == domain_tokens_.end() ? 0 : found->second;
}

LibraryBudget::Room LibraryBudget::RoomLocked(const DomainId& domain, std::uint64_t tokens) const {
  // The domain's own bound first: whoever is over it learns nothing about the others.
  const std::uint64_t own = HeldBy(domain);
  if (own > limits_.domain_tokens || tokens > limits_.domain_tokens - own) {
    return Room::kDomainIsFull;
  }
  return tokens > limits_.tokens - held_tokens_ ? Room::kDaemonIsFull : Room::kFits;
}

LibraryBudget::Room LibraryBudget::RoomFor(const DomainId& domain, std::uint64_t tokens) const {
  MutexLock lock(mutex_);
  return RoomLocked(domain, tokens);
}

Status LibraryBudget::Take(const DomainId& domain, std::uint64_t tokens) {
  MutexLock lock(mutex_);
  switch (RoomLocked(domain, tokens)) {
    case Room::kDomainIsFull:
      return Exhausted("the tenant's open libraries hold " + std::to_string(HeldBy(domain)) +
                       " tokens, asked for are " + std::to_string(tokens) + " more; the limit is " +
                       std::to_string(limits_.domain_tokens));
    case Room::kDaemonIsFull:
      return Exhausted("the daemon has no room for " + std::to_string(tokens) +
                       " more tokens; the limit of all open libraries is " +
                       std::to_string(limits_.tokens));
    case Room::kFits:
      break;
  }
  held_tokens_ += tokens;
  if (tokens > 0) domain_tokens_[domain] += tokens;
  return Status();
}

void LibraryBudget::Give(const DomainId& domain, std::uint64_t tokens) {
  if (tokens == 0) return;
  MutexLock lock(mutex_);
  const auto found = domain_tokens_.find(domain);
  KVC_ASSERT(found != domain_tokens_.end() && found->second >= tokens);
  held_tokens_ -= tokens;
  found->second -= tokens;
  if (found->second == 0) domain_tokens_.erase(found);
}

}  // namespace kvcommons
