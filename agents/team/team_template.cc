#include "agents/team/team_template.h"

#include <cstring>

#include "kernels/checksum.h"

namespace kvcommons {
namespace {

ReaderKey KeyOf(const TeamTemplate& shape) {
  std::string bytes;
  const auto put = [&bytes](const void* data, std::size_t size) {
    bytes.append(reinterpret_cast<const char*>(&size), sizeof size);
    bytes.append(static_cast<const char*>(data), size);
  };
  put(shape.agent.data(), shape.agent.size());
  for (const auto& segment : shape.segments) put(segment.data(), segment.size() * sizeof(TokenId));
  for (const std::string& slot : shape.slots) put(slot.data(), slot.size());
  const Checksum128 sum =
      ChecksumOf(reinterpret_cast<const std::byte*>(bytes.data()), bytes.size());
  ReaderKey key;
  static_assert(sizeof sum == sizeof key.bytes);
  std::memcpy(key.bytes.data(), &sum, sizeof sum);
  return key;
}

}  // namespace

PromptTemplate TeamTemplate::Shape() const {
  PromptTemplate shape;
  shape.head_tokens = static_cast<std::uint32_t>(segments.front().size());
  for (std::size_t i = 0; i < slots.size(); ++i) {
    shape.slots.push_back({slots[i], 0, static_cast<std::uint32_t>(segments[i + 1].size())});
  }
  return shape;
}

std::vector<TokenId> TeamTemplate::Fill(std::span<const std::span<const TokenId>> contents) const {
  std::vector<TokenId> tokens = segments.front();
  for (std::size_t i = 0; i < slots.size(); ++i) {
    tokens.insert(tokens.end(), contents[i].begin(), contents[i].end());
    tokens.insert(tokens.end(), segments[i + 1].begin(), segments[i + 1].end());
  }
  return tokens;
}

Result<TeamTemplate> MakeTeamTemplate(const Engine& engine, const TeamAgent& agent,
                                      const std::string& chat) {
  std::optional<std::string_view> system;
  if (agent.system) system = *agent.system;
  const auto frame = engine.FormatChat(chat, system);
  if (!frame) return Fail(frame.error());
  TeamTemplate shape;
  shape.agent = agent.name;
  shape.slots = agent.slots;
  const auto append = [&](std::string_view text, bool parse_special) -> Status {
    auto tokens = engine.Tokenize(text, parse_special);
    if (!tokens) return tokens.error();
    auto& segment = shape.segments.back();
    segment.insert(segment.end(), tokens->begin(), tokens->end());
    return Status();
  };
  for (std::size_t i = 0; i < agent.text.size(); ++i) {
    shape.segments.emplace_back();
    if (i == 0) KVC_FAIL_IF_ERROR(append(frame->before, true));
    if (!agent.text[i].empty()) KVC_FAIL_IF_ERROR(append(agent.text[i], false));
    if (i + 1 == agent.text.size()) KVC_FAIL_IF_ERROR(append(frame->after, true));
  }
  auto& head = shape.segments.front();
  head = BehindPromptBegin(engine.PromptBegin(), head);
  KVC_FAIL_IF_ERROR(CheckTemplate(shape.Shape()));
  shape.reader = KeyOf(shape);
  return shape;
}

Result<std::vector<TokenId>> TeamLeadIn(const Engine& engine, const std::string& chat) {
  const auto frame = engine.FormatChat(chat, std::nullopt);
  if (!frame) return Fail(frame.error());
  const auto opening = engine.Tokenize(frame->before, true);
  if (!opening) return Fail(opening.error());
  const auto lead = engine.Tokenize("The task is:\n\n", false);
  if (!lead) return Fail(lead.error());
  std::vector<TokenId> tokens = BehindPromptBegin(engine.PromptBegin(), *opening);
  tokens.insert(tokens.end(), lead->begin(), lead->end());
  return tokens;
}

}  // namespace kvcommons
