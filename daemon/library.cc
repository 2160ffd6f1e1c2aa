#include "daemon/library.h"

#include <algorithm>

#include "base/assert.h"

namespace kvcommons {

namespace {

// What a document in the place of one with `before` tokens adds.
std::uint64_t Growth(std::uint64_t before, std::uint64_t after) {
  return after - std::min(before, after);
}

}  // namespace

Library::Library(Store& store, const Clock& clock, std::shared_ptr<const OpenedModel> model,
                 LibraryBudget& budget)
    : store_(store), clock_(clock), model_(std::move(model)), budget_(budget) {}

Library::~Library() {
  MutexLock lock(mutex_);
  std::uint64_t tokens = 0;
  for (const auto& [key, entry] : entries_) tokens += entry.document.tokens.size();
  budget_.Give(model_->tenant.domain, tokens);
}

Result<std::shared_ptr<Library>> Library::Open(Store& store, const Clock& clock,
                                               std::shared_ptr<const OpenedModel> model,
                                               LibraryBudget& budget, const MakeRoom& make_room) {
  std::shared_ptr<Library> library(new Library(store, clock, std::move(model), budget));
  KVC_FAIL_IF_ERROR(library->Load(make_room));
  return library;
}

Result<std::shared_ptr<const PrefaceRoots>> Library::Share(PrefaceSet set,
                                                           const MakeRoom& make_room) {
  auto own = std::make_unique<const PrefaceRoots>(std::move(set), model_->hasher);
  {
    MutexLock lock(mutex_);
    std::erase_if(sets_, [](const auto& held) { return held.expired(); });
    for (const auto& held : sets_) {
      const auto shared = held.lock();
      // The id does not name all of a set.
      if (shared && shared->id() == own->id() && shared->set() == own->set()) return shared;
    }
  }
  const std::uint64_t tokens = own->set().TotalTokens();
  if (make_room) make_room(tokens);
  KVC_FAIL_IF_ERROR(budget_.Take(model_->tenant.domain, tokens));
  std::shared_ptr<const PrefaceRoots> shared(
      own.release(),
      [&budget = budget_, domain = model_->tenant.domain, tokens](const PrefaceRoots* gone) {
        delete gone;
        budget.Give(domain, tokens);
      });
  MutexLock lock(mutex_);
  sets_.push_back(shared);
  return shared;
}

Status Library::Load(const MakeRoom& make_room) {
  std::vector<LibraryDocument> documents = store_.ListLibraryDocuments(model_->tenant.domain);
  std::erase_if(documents, [this](const LibraryDocument& document) {
    return document.fingerprint != model_->fingerprint ||
           document.block_tokens != model_->profile.block_tokens;
  });
  const auto age = [](const LibraryDocument& d) { return std::pair(d.created_us, d.document); };
  std::sort(documents.begin(), documents.end(),
            [&](const LibraryDocument& a, const LibraryDocument& b) { return age(a) < age(b); });
  std::uint64_t tokens = 0;
  for (const LibraryDocument& document : documents) tokens += document.tokens.size();
  if (make_room) make_room(tokens);
  KVC_RETURN_IF_ERROR(budget_.Take(model_->tenant.domain, tokens));
  MutexLock lock(mutex_);
  for (LibraryDocument& document : documents) Insert(std::move(document));
  return Status();
}

// --- The maps

Library::Entry* Library::FindEntry(const DocumentKey& key) {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : &found->second;
}

const Library::Entry* Library::FindEntry(const DocumentKey& key) const {
  const auto found = entries_.find(key);
  return found == entries_.end() ? nullptr : &found->second;
}

void Library::Insert(LibraryDocument document) {
  const DocumentKey key = document.document;
  Entry& entry = entries_[key];
  entry.content = model_->hasher.ContentKeyOf(document.tokens);
  entry.document = std::move(document);
  entry.turn = next_turn_++;
  order_.emplace(entry.turn, key);
  by_content_[entry.content].insert(key);
  RememberKeys(entry);
  Touch(entry);
  last_text_change_ = last_change_;
}

void Library::Touch(Entry& entry) {
  changes_.erase(entry.change);
  entry.change = ++last_change_;
  changes_.emplace(entry.change, entry.document.document);
}

void Library::Erase(const DocumentKey& key) {
  const auto found = entries_.find(key);
  if (found == entries_.end()) return;
  const Entry& entry = found->second;
  order_.erase(entry.turn);
  changes_.erase(entry.change);
  last_text_change_ = ++last_change_;
  const auto equals = by_content_.find(entry.content);
  equals->second.erase(key);
  if (equals->second.empty()) by_content_.erase(equals);
  entries_.erase(found);
}

void Library::RememberKeys(Entry& entry) {
  std::vector<std::pair<ChainRoot, std::vector<BlockKey>>> keys;
  for (const LibraryVariant& variant : entry.document.variants) {
    if (!variant.ready) continue;
    keys.emplace_back(variant.root, BlocksOf(entry.document, variant.root, model_->hasher));
  }
  entry.keys = std::move(keys);
}

Status Library::Replace(LibraryDocument document) {
  KVC_RETURN_IF_ERROR(store_.PutLibraryDocument(document));
  MutexLock lock(mutex_);
  Entry* const entry = FindEntry(document.document);
  KVC_ASSERT(entry != nullptr);
  // Counted while the record was written.
  document.neighbours = entry->document.neighbours;
  entry->document = std::move(document);
  RememberKeys(*entry);
  Touch(*entry);
  return Status();
}

// --- Documents

Result<Library::PutOutcome> Library::Put(std::string name, TokenList tokens,
                                         std::vector<std::string> related) {
  LibraryDocument document;
  const ContentKey content = model_->hasher.ContentKeyOf(tokens);
  document.name = name.empty() ? content.ToHex() : std::move(name);
  document.document = model_->hasher.KeyOfLibraryDocument(document.name);
  document.domain = model_->tenant.domain;
  document.fingerprint = model_->fingerprint;
  document.block_tokens = model_->profile.block_tokens;
  document.tokens = std::move(tokens);
  document.related = std::move(related);
  document.created_us = clock_.WallUs();
  KVC_FAIL_IF_ERROR(CheckLibraryDocument(document));

  MutexLock write_lock(write_mutex_);
  std::optional<LibraryDocument> before;
  {
    MutexLock lock(mutex_);
    if (const Entry* const entry = FindEntry(document.document)) before = entry->document;
    const auto equals = by_content_.find(content);
    if (equals != by_content_.end()) {
      // What was made of an equal text is this one's too; its neighbours are not.
      for (const LibraryVariant& v : FindEntry(*equals->second.begin())->document.variants) {
        if (v.root.kind != RootKind::kNear) document.variants.push_back(v);
      }
    }
    const bool fits = before || entries_.size() < kMaxDocuments;
    if (!fits) {
      return Fail(Exhausted("the library has " + std::to_string(entries_.size()) +
                            " documents; the limit is " + std::to_string(kMaxDocuments)));
    }
  }
  PutOutcome outcome;
  outcome.content = content;
  if (before && before->tokens == document.tokens) {
    const bool is_change = before->related != document.related;
    before->related = std::move(document.related);
    if (is_change) {
      for (LibraryVariant& variant : before->variants) {
        variant.renamed = variant.root.kind == RootKind::kNear;
      }
      KVC_FAIL_IF_ERROR(Replace(*before));
    }
    outcome.document = std::move(*before);
    outcome.document.tokens.clear();
    return outcome;
  }
  // The growth before the disk, what it shrinks by after: the bounds hold at every instant.
  const std::uint64_t before_tokens = before ? before->tokens.size() : 0;
  const std::uint64_t after_tokens = document.tokens.size();
  const DomainId& domain = model_->tenant.domain;
  KVC_FAIL_IF_ERROR(budget_.Take(domain, Growth(before_tokens, after_tokens)));
  if (const Status put = store_.PutLibraryDocument(document); !put.ok()) {
    budget_.Give(domain, Growth(before_tokens, after_tokens));
    return Fail(put);
  }
  outcome.document = document;
  outcome.document.tokens.clear();
  outcome.is_new = true;
  {
    MutexLock lock(mutex_);
    Erase(document.document);
    Insert(std::move(document));
  }
  budget_.Give(domain, Growth(after_tokens, before_tokens));
  if (before) DropNear(model_->hasher.ContentKeyOf(before->tokens));
  return outcome;
}

std::uint64_t Library::GrowthOf(const std::string& name, const TokenList& tokens) const {
  const DocumentKey key = model_->hasher.KeyOfLibraryDocument(
      name.empty() ? model_->hasher.ContentKeyOf(tokens).ToHex() : name);
  MutexLock lock(mutex_);
  const Entry* const entry = FindEntry(key);
  return Growth(entry == nullptr ? 0 : entry->document.tokens.size(), tokens.size());
}

Result<bool> Library::Remove(const std::string& name) {
  return Remove(model_->hasher.KeyOfLibraryDocument(name));
}

Result<bool> Library::Remove(const DocumentKey& key) {
  MutexLock write_lock(write_mutex_);
  ContentKey content;
  std::uint64_t tokens = 0;
  {
    MutexLock lock(mutex_);
    const Entry* const entry = FindEntry(key);
    if (entry == nullptr) return false;
    content = entry->content;
    tokens = entry->document.tokens.size();
  }
  const auto removed = store_.RemoveLibraryDocument(model_->tenant.domain, key);
  if (!removed) return Fail(removed.error());
  {
    MutexLock lock(mutex_);
    Erase(key);
  }
  budget_.Give(model_->tenant.domain, tokens);
  DropNear(content);
  return true;
}

void Library::DropNear(const ContentKey& content) {
  std::vector<LibraryDocument> changed;
  {
    MutexLock lock(mutex_);
    if (by_content_.contains(content)) return;
    for (const auto& [key, entry] : entries_) {
      const auto holds = [&](const LibraryVariant& variant) {
        return std::find(variant.neighbours.begin(), variant.neighbours.end(), content) !=
               variant.neighbours.end();
      };
      const auto& variants = entry.document.variants;
      if (std::none_of(variants.begin(), variants.end(), holds)) continue;
      std::erase_if(changed.emplace_back(entry.document).variants, holds);
    }
  }
  // A failure leaves rows that are good, but were made behind what is gone.
  for (LibraryDocument& document : changed) static_cast<void>(Replace(std::move(document)));
}

std::optional<LibraryDocument> Library::Get(const std::string& name) const {
  const DocumentKey key = model_->hasher.KeyOfLibraryDocument(name);
  MutexLock lock(mutex_);
  const Entry* const entry = FindEntry(key);
  return entry == nullptr ? std::nullopt : std::optional(entry->document);
}

std::vector<Library::Listed> Library::List(std::size_t limit) const {
  std::vector<Listed> list;
  MutexLock lock(mutex_);
  for (const auto& [turn, key] : order_) {
    if (list.size() >= limit) break;
    const Entry* const entry = FindEntry(key);
    list.push_back(ListedAs(entry->document, entry->content));
  }
  return list;
}

Library::Listed Library::ListedAs(const LibraryDocument& document, const ContentKey& content) {
  Listed listed;
  listed.document.document = document.document;
  listed.document.name = document.name;
  listed.document.fingerprint = document.fingerprint;
  listed.document.created_us = document.created_us;
  listed.document.variants = document.variants;
  listed.content = content;
  listed.token_count = document.tokens.size();
  return listed;
}

}  // namespace kvcommons
