// A text with its token ids and their byte offsets, kept in step with edits: only the surroundings
// of an edit are tokenised again.
//
// Guarantee: ids() equals the tokenisation of the whole text, after any edits. It rests on one
// property of BPE with a pre-tokeniser: no merge crosses a pre-token, and a space followed by a
// letter, after a byte that is no white space, begins one. Where the property cannot be used (no
// such place nearby, a tokenizer whose pieces do not spell the text), the whole text is tokenised.
//
// Source: specs: positional re-encoding §5.3. Thread safety: none.
// Refuses: text over 16 MiB, edits outside the text, edits that overlap or are out of order.

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace kvcommons {

// Bytes [begin, end) of the text before the edits become `text`.
struct ByteEdit {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::string text;
};

// What turns text into ids and back; `piece` returns the bytes of one token.
struct Tokenizer {
  std::function<Result<std::vector<TokenId>>(std::string_view text)> encode;
  std::function<Result<std::string>(TokenId token)> piece;
};

class TokenizedText {
 public:
  static constexpr std::size_t kMaxTextBytes = 16u << 20;

  // `tokenizer` must stay valid as long as this.
  static Result<TokenizedText> Create(const Tokenizer& tokenizer, std::string text);

  // Applies edits (ascending, disjoint, in bytes of the text before all of them). On failure
  // nothing changed.
  Status Apply(std::span<const ByteEdit> edits);
  // The same from a new text: common ends are kept, what lies between is one edit.
  Status Replace(std::string_view text);

  const std::string& text() const { return text_; }
  const std::vector<TokenId>& ids() const { return ids_; }
  // Bytes that the last Apply() gave to the tokenizer.
  std::size_t encoded_bytes() const { return encoded_bytes_; }

 private:
  TokenizedText(const Tokenizer& tokenizer, std::string text)
      : tokenizer_(&tokenizer), text_(std::move(text)) {}

  Status EncodeAll();
  Status ApplyOne(const ByteEdit& edit);
  // Appends the byte offsets of `ids`, which begin at `offset`; false if their pieces do not spell
  // the text.
  Result<bool> AppendOffsets(std::span<const TokenId> ids, std::size_t offset,
                             std::vector<std::size_t>& offsets) const;

  const Tokenizer* tokenizer_;
  std::string text_;
  std::vector<TokenId> ids_;
  std::vector<std::size_t>
      offsets_;  // of each token's first byte; empty when pieces do not spell the text
  std::size_t encoded_bytes_ = 0;
};

}  // namespace kvcommons
