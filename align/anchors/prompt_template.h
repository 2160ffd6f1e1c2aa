// The fixed text of an agent's prompt and the slots between, and where everything lands when the
// slots are filled.
//
// A prompt is p0 φ1 p1 φ2 p2 … φn pn: text that never changes, and slots whose contents do. Every
// part is tokenized alone, so lengths decide all positions. While a template's text was computed,
// markers stood in its slots; contents are of other lengths, so text behind them moves.
//
// Pure; any thread. Refuses, naming field, value and limit, what the method silently misaligns: no
// text before the first slot or behind any, a slot twice, contents that are not one a slot.
// Source: specs: KVCOMM §3.1, §3.5.

#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace kvcommons {

struct TemplateSlot {
  std::string name;
  std::uint32_t marker_tokens = 0;   // what stood here while the text was computed
  std::uint32_t segment_tokens = 0;  // of the text behind it
};

struct PromptTemplate {
  static constexpr std::size_t kMaxSlots = 64;
  static constexpr std::size_t kMaxSlotNameBytes = 256;
  static constexpr std::uint32_t kMaxTokens = 1u << 20;  // of a prompt, and of a template

  std::uint32_t head_tokens = 0;  // p0
  std::vector<TemplateSlot> slots;
};

Status CheckTemplate(const PromptTemplate& shape);

// A content that fills a slot. Its stored keys are rotated for base_begin, base_begin + 1, ...:
// where it stood when its rows were computed.
struct SlotContent {
  std::uint32_t tokens = 0;
  std::uint32_t base_begin = 0;
};

// Half-open by the lengths; a shift is what stored keys are rotated by.
struct SlotPlacement {
  Position content_begin = 0;
  Position content_shift = 0;
  Position segment_begin = 0;
  Position segment_shift = 0;  // from the template's own positions
};

struct PromptLayout {
  std::vector<SlotPlacement> slots;
  std::uint32_t tokens = 0;
};

// REQUIRES: the template passes CheckTemplate(). kInvalidArgument: contents do not fit it.
Result<PromptLayout> LayOut(const PromptTemplate& shape, std::span<const SlotContent> contents);

}  // namespace kvcommons
