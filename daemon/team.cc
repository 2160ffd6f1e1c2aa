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
                                   std::vector<std::string> slots) {
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
  if (tokens > model_->profile.context_tokens) {
    return Fail(OutOfRange("tokens of the template", tokens, 2, model_->profile.context_tokens));
  }
  made->version = model_->hasher.IdOf<ReaderKey>("template", message.bytes());
  made->agent = std::move(agent);
  made->segments = std::move(segments);
  MutexLock lock(mutex_);
  if (const auto found = templates_.find(made->version); found != templates_.end()) {
    return found->second;
  }
  if (templates_.size() >= kMaxTemplates) {
    return Fail(Exhausted("the team has " + std::to_string(templates_.size()) +
                          " templates; that is the limit"));
  }
  return templates_.emplace(made->version, std::move(made)).first->second;
}

AgentTemplatePtr Team::Find(const ReaderKey& version) const {
  MutexLock lock(mutex_);
  const auto found = templates_.find(version);
  return found == templates_.end() ? nullptr : found->second;
}

MeanKey Team::KeyOfMean(const AgentTemplate& shape, std::size_t slot, bool of_answers) const {
  return model_->hasher.IdOf<MeanKey>("meankey ", Message()
                                                      .Add(name_)
                                                      .Add(shape.version.view())
                                                      .Add(shape.shape.slots[slot].name)
                                                      .Add(of_answers ? 1 : 0)
                                                      .bytes());
}

SlotKey Team::KeyOfSlot(const AgentTemplate& shape, std::size_t slot, bool of_answers) const {
  return model_->hasher.IdOf<SlotKey>(
      "slotkey ",
      Message().Add(name_).Add(shape.shape.slots[slot].name).Add(of_answers ? 1 : 0).bytes());
}

ContentKey Team::KeyOfText(const TokenList& lead_in, const TokenList& tokens) const {
  return model_->hasher.IdOf<ContentKey>("teamtext", Message().Add(lead_in).Add(tokens).bytes());
}

std::vector<BlockKey> Team::BaseBlocks(const ContentKey& content, std::size_t tokens) const {
  const std::size_t block_tokens = model_->profile.block_tokens;
  std::vector<BlockKey> keys;
  for (std::size_t begin = 0; begin < tokens; begin += block_tokens) {
    keys.push_back(model_->hasher.IdOf<BlockKey>(
        "teambase", Message().Add(content.view()).Add(begin / block_tokens).bytes()));
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
  auto team = std::make_shared<Team>(model, name, std::move(pool));
  held = team;
  return team;
}

}  // namespace kvcommons
