#include "agents/editor/tokenized_text.h"

#include <algorithm>
#include <optional>
#include <utility>

namespace kvcommons {
namespace {

// How far from an edit a boundary must lie: more than any pre-token that is not degenerate, so that
// neither a merge nor the pre-tokeniser's look-ahead reaches across.
constexpr std::size_t kMarginBytes = 128;
// How much further a boundary is looked for before the whole text is tokenised instead.
constexpr std::size_t kSearchBytes = 4096;

bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool IsWhite(char c) {
  return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\v' || c == '\f';
}

// A place where every pre-tokeniser of the GPT-2 family begins a pre-token: "x| word".
bool IsBoundary(std::string_view text, std::size_t at) {
  if (at == 0 || at == text.size()) return true;
  return at + 1 < text.size() && text[at] == ' ' && IsLetter(text[at + 1]) &&
         !IsWhite(text[at - 1]) && static_cast<unsigned char>(text[at - 1]) < 0x80;
}

std::optional<std::size_t> BoundaryBefore(std::string_view text, std::size_t at) {
  if (at <= kMarginBytes) return 0;
  const std::size_t from = at - kMarginBytes;
  const std::size_t stop = from > kSearchBytes ? from - kSearchBytes : 0;
  for (std::size_t p = from;; --p) {
    if (IsBoundary(text, p)) return p;
    if (p == stop) return std::nullopt;
  }
}

std::optional<std::size_t> BoundaryAfter(std::string_view text, std::size_t at) {
  if (text.size() - at <= kMarginBytes) return text.size();
  const std::size_t stop = std::min(text.size(), at + kMarginBytes + kSearchBytes);
  for (std::size_t p = at + kMarginBytes; p <= stop; ++p) {
    if (IsBoundary(text, p)) return p;
  }
  return std::nullopt;
}

Status TooLong(std::size_t bytes) {
  return InvalidArgument("text has " + std::to_string(bytes) + " bytes; the limit is " +
                         std::to_string(TokenizedText::kMaxTextBytes));
}

}  // namespace

Result<TokenizedText> TokenizedText::Create(const Tokenizer& tokenizer, std::string text) {
  if (text.size() > kMaxTextBytes) return Fail(TooLong(text.size()));
  TokenizedText result(tokenizer, std::move(text));
  KVC_FAIL_IF_ERROR(result.EncodeAll());
  return result;
}

Result<bool> TokenizedText::AppendOffsets(std::span<const TokenId> ids, std::size_t offset,
                                          std::vector<std::size_t>& offsets) const {
  for (const TokenId id : ids) {
    auto piece = tokenizer_->piece(id);
    if (!piece.has_value()) return Fail(piece.error());
    if (text_.compare(offset, piece->size(), *piece) != 0) return false;
    offsets.push_back(offset);
    offset += piece->size();
  }
  return true;
}

Status TokenizedText::EncodeAll() {
  auto ids = tokenizer_->encode(text_);
  if (!ids.has_value()) return ids.error();
  encoded_bytes_ += text_.size();
  ids_ = std::move(*ids);
  offsets_.clear();
  const auto spelled = AppendOffsets(ids_, 0, offsets_);
  if (!spelled.has_value()) return spelled.error();
  if (!*spelled) offsets_.clear();
  return Status();
}

Status TokenizedText::Apply(std::span<const ByteEdit> edits) {
  std::size_t last_end = 0;
  std::size_t bytes = text_.size();
  for (std::size_t i = 0; i < edits.size(); ++i) {
    const ByteEdit& edit = edits[i];
    if (edit.begin < last_end || edit.end < edit.begin || edit.end > text_.size()) {
      return InvalidArgument("edit " + std::to_string(i) + " is [" + std::to_string(edit.begin) +
                             ", " + std::to_string(edit.end) + "); edits ascend within [" +
                             std::to_string(last_end) + ", " + std::to_string(text_.size()) + ")");
    }
    last_end = edit.end;
    bytes = bytes - (edit.end - edit.begin) + edit.text.size();
  }
  if (bytes > kMaxTextBytes) return TooLong(bytes);

  TokenizedText before = *this;
  encoded_bytes_ = 0;
  // From the last to the first, so that the byte ranges of those still to come stay true.
  for (auto edit = edits.rbegin(); edit != edits.rend(); ++edit) {
    if (Status status = ApplyOne(*edit); !status.ok()) {
      *this = std::move(before);
      return status;
    }
  }
  return Status();
}

Status TokenizedText::Replace(std::string_view text) {
  const std::size_t shorter = std::min(text.size(), text_.size());
  const auto mismatch = std::mismatch(
      text.begin(), text.begin() + static_cast<std::ptrdiff_t>(shorter), text_.begin());
  const auto head = static_cast<std::size_t>(mismatch.first - text.begin());
  std::size_t tail = 0;
  while (tail < shorter - head && text[text.size() - 1 - tail] == text_[text_.size() - 1 - tail]) {
    ++tail;
  }
  if (head == text.size() && head == text_.size()) {
    encoded_bytes_ = 0;
    return Status();
  }
  const ByteEdit edit{head, text_.size() - tail,
                      std::string(text.substr(head, text.size() - tail - head))};
  return Apply({&edit, 1});
}

Status TokenizedText::ApplyOne(const ByteEdit& edit) {
  const auto left = BoundaryBefore(text_, edit.begin);
  const auto right = BoundaryAfter(text_, edit.end);
  text_.replace(edit.begin, edit.end - edit.begin, edit.text);
  if (offsets_.empty() || !left.has_value() || !right.has_value()) return EncodeAll();

  const auto first = std::lower_bound(offsets_.begin(), offsets_.end(), *left);
  const auto last = std::lower_bound(first, offsets_.end(), *right);
  // A boundary that is no token's first byte is none: the tokenizer is of another kind than
  // assumed.
  const bool left_fits = first != offsets_.end() ? *first == *left : ids_.empty();
  const bool right_fits = last == offsets_.end() || *last == *right;
  if (!left_fits || !right_fits) return EncodeAll();

  const std::size_t new_right = *right - (edit.end - edit.begin) + edit.text.size();
  auto ids = tokenizer_->encode(std::string_view(text_).substr(*left, new_right - *left));
  if (!ids.has_value()) return ids.error();
  encoded_bytes_ += new_right - *left;
  std::vector<std::size_t> offsets;
  const auto spelled = AppendOffsets(*ids, *left, offsets);
  if (!spelled.has_value()) return spelled.error();
  if (!*spelled) return EncodeAll();

  const auto first_index = first - offsets_.begin();
  const auto last_index = last - offsets_.begin();
  for (auto offset = last; offset != offsets_.end(); ++offset) *offset += new_right - *right;
  ids_.erase(ids_.begin() + first_index, ids_.begin() + last_index);
  ids_.insert(ids_.begin() + first_index, ids->begin(), ids->end());
  offsets_.erase(offsets_.begin() + first_index, offsets_.begin() + last_index);
  offsets_.insert(offsets_.begin() + first_index, offsets.begin(), offsets.end());
  return Status();
}

}  // namespace kvcommons
