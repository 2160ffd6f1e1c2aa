#include "daemon/team.h"

#include <algorithm>
#include <cstring>

#include "daemon/wire.h"

namespace kvcommons {
namespace {

// Numbers and texts after their lengths: no two messages are the same bytes.
class Message {
 public:
  Message& Add(std::uint64_t value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Message& Add(std::string_view text) {
    Add(text.size());
    bytes_.append(text);
    return *this;
  }
  Message& Add(const TokenList& tokens) {
    return Add(std::string_view(reinterpret_cast<const char*>(tokens.data()),
                                tokens.size() * sizeof(TokenId)));
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

}  // namespace

Result<AgentTemplatePtr> Team::Put(std::string agent, std::vector<TokenList> segments,
                                   std::vector<std::string> slots, std::uint32_t context_tokens) {
  if (segments.size() != slots.size() + 1) {
    return Fail(InvalidArgument("segments has " + std::to_string(segments.size()) +
                                " entries; a template of " + std::to_string(slots.size()) +
                                " slots has one more than slots"));
  }
  auto made = std::make_shared<AgentTemplate>();
  made->shape.head_tokens = static_cast<std::uint32_t>(segments.front().size());
  Message message;
  message.Add(agent).Add(segments.front());
  for (std::size_t i = 0; i < slots.size(); ++i) {
    message.Add(slots[i]).Add(segments[i + 1]);
    made->shape.slots.push_back(
        {std::move(slots[i]), 0, static_cast<std::uint32_t>(segments[i + 1].size())});
  }
  KVC_FAIL_IF_ERROR(CheckTemplate(made->shape));
  std::size_t tokens = 0;
  for (const TokenList& segment : segments) tokens += segment.size();
  if (tokens > context_tokens) {
    return Fail(OutOfRange("tokens of the template", tokens, 2, context_tokens));
  }
  made->version = hasher_.IdOf<ReaderKey>("template", message.bytes());
  made->agent = std::move(agent);
  made->segments = std::move(segments);
  MutexLock lock(mutex_);
  if (const auto found = templates_.find(made->version); found != templates_.end()) {
    found->second.last_use = ++uses_;
    return found->second.shape;
  }
  while (!templates_.empty() &&
         (templates_.size() >= kMaxTemplates || template_tokens_ + tokens > kMaxTemplateTokens)) {
    const auto oldest = std::min_element(
        templates_.begin(), templates_.end(),
        [](const auto& a, const auto& b) { return a.second.last_use < b.second.last_use; });
    template_tokens_ -= oldest->second.tokens;
    templates_.erase(oldest);
  }
  template_tokens_ += tokens;
  AgentTemplatePtr shape = std::move(made);
  templates_[shape->version] = {shape, tokens, ++uses_};
  return shape;
}

AgentTemplatePtr Team::Find(const ReaderKey& version) {
  MutexLock lock(mutex_);
  const auto found = templates_.find(version);
  if (found == templates_.end()) return nullptr;
  found->second.last_use = ++uses_;
  return found->second.shape;
}

MeanKey Team::KeyOfMean(const AgentTemplate& shape, std::size_t slot, const BaseKind& kind) const {
  return hasher_.IdOf<MeanKey>("meankey ", Message()
                                               .Add(name_)
                                               .Add(shape.version.view())
                                               .Add(shape.shape.slots[slot].name)
                                               .Add(kind.view())
                                               .bytes());
}

SlotKey Team::KeyOfSlot(const AgentTemplate& shape, std::size_t slot, const BaseKind& kind) const {
  return hasher_.IdOf<SlotKey>(
      "slotkey ", Message().Add(name_).Add(shape.shape.slots[slot].name).Add(kind.view()).bytes());
}

BaseKind Team::KindOfTexts(const TokenList& lead_in) const {
  return hasher_.IdOf<BaseKind>("basekind", Message().Add(lead_in).bytes());
}

BaseKind Team::KindOfAnswers() const { return hasher_.IdOf<BaseKind>("basekind", "answers"); }

TeamContentRef Team::TextBehind(const AgentTemplate& shape, std::size_t slot) const {
  const std::string message = Message().Add(shape.version.view()).Add(slot).bytes();
  TeamContentRef text;
  text.content = hasher_.IdOf<ContentKey>("teamprmt", message);
  text.tokens = shape.segments[slot + 1];
  text.kind = hasher_.IdOf<BaseKind>("promptof", message);
  return text;
}

ContentKey Team::KeyOfContext(std::span<const TeamContentRef> contents) const {
  Message message;
  for (const TeamContentRef& content : contents) message.Add(content.tokens);
  return hasher_.IdOf<ContentKey>("teamctxt", message.bytes());
}

ContentKey Team::KeyOfText(const TokenList& tokens) const {
  return hasher_.IdOf<ContentKey>("teamtext", Message().Add(tokens).bytes());
}

ContentKey Team::KeyOfAnswer(std::string_view computed_from, bool corrected) const {
  auto key = hasher_.IdOf<ContentKey>("teamansw", computed_from);
  key.bytes[0] = static_cast<std::uint8_t>((key.bytes[0] & ~1) | (corrected ? 1 : 0));
  return key;
}

std::vector<BlockKey> Team::BaseBlocks(const TeamContentRef& content) const {
  std::vector<BlockKey> keys;
  for (std::size_t begin = 0; begin < content.tokens.size(); begin += block_tokens_) {
    keys.push_back(hasher_.IdOf<BlockKey>("teambase", Message()
                                                          .Add(content.kind.view())
                                                          .Add(content.content.view())
                                                          .Add(begin / block_tokens_)
                                                          .bytes()));
  }
  return keys;
}

Result<std::shared_ptr<Team>> TeamRegistry::Open(const std::shared_ptr<const OpenedModel>& model,
                                                 const std::string& name) {
  const DomainId& domain = model->tenant.domain;
  auto pool = pools_.Open(domain);
  MutexLock lock(mutex_);
  std::erase_if(teams_, [](const auto& team) { return team.second.expired(); });
  auto& held = teams_[{domain, model->fingerprint, name}];
  if (auto team = held.lock()) return team;
  const auto count = std::count_if(teams_.begin(), teams_.end(), [&domain](const auto& team) {
    return std::get<0>(team.first) == domain && !team.second.expired();
  });
  if (static_cast<std::size_t>(count) >= kMaxTeamsOfDomain) {
    return Fail(
        Exhausted("the tenant has " + std::to_string(count) + " teams in use; that is the limit"));
  }
  auto team = std::make_shared<Team>(*model, name, std::move(pool));
  held = team;
  return team;
}

}  // namespace kvcommons
