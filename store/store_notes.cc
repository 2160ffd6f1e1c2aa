// Notes: small records by name, on disk as metadata where there is one, else in memory.
//
// On disk a note is "note/<domain>/<name>": the domain's hexadecimal form has one length and no
// slash, so no name reaches another domain's notes.

#include <algorithm>
#include <string>
#include <utility>

#include "store/store_impl.h"

namespace kvcommons {
namespace {

// The longest name fits: a domain has 32 hexadecimal digits.
constexpr std::string_view kMetaPrefix = "note/";
static_assert(kMetaPrefix.size() + 32 + 1 + Store::kMaxNoteNameBytes <=
              DiskTier::kMaxMetaNameBytes);
static_assert(Store::kMaxNoteBytes <= DiskTier::kMaxMetaValueBytes);

std::string MetaName(const DomainId& domain, std::string_view name) {
  return std::string(kMetaPrefix) + domain.ToHex() + "/" + std::string(name);
}

// What a note counts in memory: an empty one, too, takes room.
std::uint64_t BytesOf(std::string_view name, std::string_view value) {
  return sizeof(Store::Note) + name.size() + value.size();
}

Status CheckNote(std::string_view name, std::string_view value) {
  if (name.empty() || name.size() > Store::kMaxNoteNameBytes) {
    return InvalidArgument("note name is " + std::to_string(name.size()) +
                           " bytes; the limit is 1 to " + std::to_string(Store::kMaxNoteNameBytes));
  }
  const auto control = std::find_if(name.begin(), name.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
  if (control != name.end()) {
    return InvalidArgument("note name has the control character " +
                           std::to_string(static_cast<int>(*control)) + " at byte " +
                           std::to_string(control - name.begin()) + "; none is allowed");
  }
  if (value.size() > Store::kMaxNoteBytes) {
    return InvalidArgument("note '" + std::string(name) + "' is " + std::to_string(value.size()) +
                           " bytes; the limit is " + std::to_string(Store::kMaxNoteBytes));
  }
  return {};
}

}  // namespace

Status StoreImpl::PutNote(const DomainId& domain, std::string_view name, std::string_view value) {
  KVC_RETURN_IF_ERROR(CheckNote(name, value));
  MutexLock lock(notes_mutex_);
  if (disk_ != nullptr) return disk_->PutMeta(MetaName(domain, name), value);
  MemoryNotes& notes = memory_notes_[domain];
  const auto held = notes.values.find(name);
  const std::uint64_t held_bytes =
      held == notes.values.end() ? 0 : BytesOf(held->first, held->second);
  const std::uint64_t bytes = BytesOf(name, value);
  if (notes.bytes - held_bytes + bytes > kMaxNotesInMemoryBytes) {
    return Exhausted("the domain's notes in memory hold " + std::to_string(notes.bytes) +
                     " bytes, '" + std::string(name) + "' has " + std::to_string(bytes) +
                     "; the limit is " + std::to_string(kMaxNotesInMemoryBytes));
  }
  notes.bytes += bytes - held_bytes;
  notes.values.insert_or_assign(std::string(name), std::string(value));
  return {};
}

std::optional<std::string> StoreImpl::GetNote(const DomainId& domain, std::string_view name) const {
  if (!CheckNote(name, {}).ok()) return std::nullopt;
  if (disk_ != nullptr) return disk_->GetMeta(MetaName(domain, name));
  MutexLock lock(notes_mutex_);
  const auto notes = memory_notes_.find(domain);
  if (notes == memory_notes_.end()) return std::nullopt;
  const auto found = notes->second.values.find(name);
  if (found == notes->second.values.end()) return std::nullopt;
  return found->second;
}

std::vector<Store::Note> StoreImpl::ListNotes(const DomainId& domain,
                                              std::string_view prefix) const {
  std::vector<Note> list;
  if (disk_ != nullptr) {
    const std::size_t skipped = MetaName(domain, {}).size();
    for (DiskTier::Meta& meta : disk_->ListMeta(MetaName(domain, prefix))) {
      list.push_back({meta.name.substr(skipped), std::move(meta.value)});
    }
    return list;
  }
  MutexLock lock(notes_mutex_);
  const auto notes = memory_notes_.find(domain);
  if (notes == memory_notes_.end()) return list;
  const auto& values = notes->second.values;
  for (auto at = values.lower_bound(prefix); at != values.end() && at->first.starts_with(prefix);
       ++at) {
    list.push_back({at->first, at->second});
  }
  return list;
}

Result<bool> StoreImpl::RemoveNote(const DomainId& domain, std::string_view name) {
  if (!CheckNote(name, {}).ok()) return false;
  MutexLock lock(notes_mutex_);
  if (disk_ != nullptr) {
    const std::string meta_name = MetaName(domain, name);
    if (!disk_->GetMeta(meta_name).has_value()) return false;
    KVC_FAIL_IF_ERROR(disk_->RemoveMeta(meta_name));
    return true;
  }
  const auto notes = memory_notes_.find(domain);
  if (notes == memory_notes_.end()) return false;
  const auto found = notes->second.values.find(name);
  if (found == notes->second.values.end()) return false;
  notes->second.bytes -= BytesOf(found->first, found->second);
  notes->second.values.erase(found);
  return true;
}

}  // namespace kvcommons
