#include "align/anchors/prompt_template.h"

#include <set>

namespace kvcommons {
namespace {

Status OutOfLimits(const std::string& field, std::uint64_t value, std::uint64_t low,
                   std::uint64_t high) {
  return InvalidArgument(field + " is " + std::to_string(value) + "; the limit is " +
                         std::to_string(low) + " to " + std::to_string(high));
}

}  // namespace

Status CheckTemplate(const PromptTemplate& shape) {
  constexpr std::uint64_t kMax = PromptTemplate::kMaxTokens;
  if (shape.slots.empty() || shape.slots.size() > PromptTemplate::kMaxSlots) {
    return OutOfLimits("number of slots", shape.slots.size(), 1, PromptTemplate::kMaxSlots);
  }
  if (shape.head_tokens == 0 || shape.head_tokens > kMax) {
    return OutOfLimits("tokens before the first slot", shape.head_tokens, 1, kMax);
  }
  std::uint64_t tokens = shape.head_tokens;
  std::set<std::string_view> names;
  for (const TemplateSlot& slot : shape.slots) {
    const std::size_t bytes = slot.name.size();
    if (bytes == 0 || bytes > PromptTemplate::kMaxSlotNameBytes) {
      return OutOfLimits("bytes of a slot's name", bytes, 1, PromptTemplate::kMaxSlotNameBytes);
    }
    if (!names.insert(slot.name).second) {
      return InvalidArgument("slot '" + slot.name +
                             "' is in the template twice; give one of them another name");
    }
    if (slot.segment_tokens == 0) {
      return InvalidArgument("nothing stands behind slot '" + slot.name +
                             "'; put text between it and what follows, a line break will do");
    }
    tokens += std::uint64_t{slot.marker_tokens} + slot.segment_tokens;
    if (tokens > kMax) return OutOfLimits("tokens of the template", tokens, 2, kMax);
  }
  return Status();
}

Result<PromptLayout> LayOut(const PromptTemplate& shape, std::span<const SlotContent> contents) {
  if (contents.size() != shape.slots.size()) {
    return Fail(InvalidArgument("contents are " + std::to_string(contents.size()) +
                                "; the template has " + std::to_string(shape.slots.size()) +
                                " slots"));
  }
  PromptLayout layout;
  std::uint64_t begin = shape.head_tokens;  // of what comes next, in the prompt
  std::uint64_t was = shape.head_tokens;    // and in the template
  for (std::size_t i = 0; i < contents.size(); ++i) {
    const TemplateSlot& slot = shape.slots[i];
    const SlotContent& content = contents[i];
    const std::uint64_t segment = begin + content.tokens;
    const std::uint64_t end = segment + slot.segment_tokens;
    if (end > PromptTemplate::kMaxTokens) {
      return Fail(OutOfLimits("tokens of the prompt up to slot '" + slot.name + "'", end, 0,
                              PromptTemplate::kMaxTokens));
    }
    if (content.base_begin > PromptTemplate::kMaxTokens) {
      return Fail(OutOfLimits("position of the rows of slot '" + slot.name + "'",
                              content.base_begin, 0, PromptTemplate::kMaxTokens));
    }
    was += slot.marker_tokens;
    SlotPlacement placed;
    placed.content_begin = static_cast<Position>(begin);
    placed.content_shift = static_cast<Position>(begin) - static_cast<Position>(content.base_begin);
    placed.segment_begin = static_cast<Position>(segment);
    placed.segment_shift = static_cast<Position>(segment) - static_cast<Position>(was);
    layout.slots.push_back(placed);
    begin = end;
    was += slot.segment_tokens;
  }
  layout.tokens = static_cast<std::uint32_t>(begin);
  return layout;
}

}  // namespace kvcommons
