#include "agents/rag/kept_chunks.h"

#include <unistd.h>
#include <xxhash.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <utility>

#include "kernels/complete.h"

namespace kvcommons {
namespace {

using Json = nlohmann::json;

std::uint64_t Hash(std::span<const std::byte> bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

std::uint64_t Hash(const std::string& text) { return Hash(std::as_bytes(std::span(text)), 0); }

// Reads `count` numbers and goes on with the checksum; false: the file ends before.
template <typename T>
bool Read(std::istream& file, std::size_t count, std::vector<T>& into, std::uint64_t& checksum) {
  into.resize(count);
  const auto size = static_cast<std::streamsize>(count * sizeof(T));
  if (!file.read(reinterpret_cast<char*>(into.data()), size)) return false;
  checksum = Hash(std::as_bytes(std::span(into)), checksum);
  return true;
}

// All of a chunk but its numbers.
Json HeadOf(const CanonicalChunk& chunk) {
  return {{"tokens", chunk.tokens},
          {"rank", chunk.rank},
          {"prefaces", chunk.prefaces},
          {"plane_bytes", chunk.planes.size()},
          {"loadings", chunk.loadings.size()}};
}

// A file is a line of JSON and then the numbers. The line ends in the checksum of all else.
std::string Line(const Json& head, std::uint64_t checksum) {
  return Json{{"head", head}, {"checksum", checksum}}.dump() + '\n';
}

bool IsShaped(const CanonicalChunk& chunk) {
  const std::size_t layer = chunk.tokens.size() * chunk.rank + 1;
  return chunk.rank == 0 ? chunk.loadings.empty()
                         : chunk.rank <= kCompletionRankMax && !chunk.loadings.empty() &&
                               chunk.loadings.size() % layer == 0;
}

std::optional<std::vector<CanonicalChunk>> ReadChunks(
    const std::string& path, const std::string& made_with, const std::string& name,
    std::span<const std::vector<TokenId>> tokens) {
  std::ifstream file(path, std::ios::binary);
  std::string line;
  if (!file || !std::getline(file, line)) return std::nullopt;
  const Json json = Json::parse(line);
  const Json& head = json.at("head");
  if (head.at("made_with") != made_with || head.at("name") != name ||
      head.at("chunks").size() != tokens.size()) {
    return std::nullopt;
  }
  // Lengths come from a file: none beyond it is made room for.
  const std::uintmax_t file_bytes = std::filesystem::file_size(path);
  std::uint64_t checksum = Hash(head.dump());
  std::vector<CanonicalChunk> chunks;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const Json& one = head.at("chunks").at(i);
    CanonicalChunk chunk;
    chunk.tokens = one.at("tokens").get<std::vector<TokenId>>();
    chunk.rank = one.at("rank");
    chunk.prefaces = one.at("prefaces");
    const std::size_t plane_bytes = one.at("plane_bytes"), loadings = one.at("loadings");
    if (chunk.tokens != tokens[i] || plane_bytes > file_bytes ||
        loadings > file_bytes / sizeof(float) || !Read(file, plane_bytes, chunk.planes, checksum) ||
        !Read(file, loadings, chunk.loadings, checksum) || !IsShaped(chunk)) {
      return std::nullopt;
    }
    chunks.push_back(std::move(chunk));
  }
  if (json.at("checksum") != checksum) return std::nullopt;
  return chunks;
}

}  // namespace

Result<KeptChunks> KeptChunks::Open(const std::string& folder, std::string made_with) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return Fail(Unavailable("cannot make " + folder + ": " + error.message()));
  return KeptChunks(folder, std::move(made_with));
}

// Short, and another one for every name and way of making: the head has both in full.
std::string KeptChunks::PathOf(const std::string& name) const {
  std::array<char, 40> file{};
  std::snprintf(file.data(), file.size(), "/%016llx.chunks",
                static_cast<unsigned long long>(Hash(made_with_ + '\n' + name)));
  return folder_ + file.data();
}

std::optional<std::vector<CanonicalChunk>> KeptChunks::Find(
    const std::string& name, std::span<const std::vector<TokenId>> tokens) const {
  try {
    return ReadChunks(PathOf(name), made_with_, name, tokens);
  } catch (const std::exception&) {  // a head that is no head of ours
    return std::nullopt;
  }
}

Status KeptChunks::Keep(const std::string& name, std::span<const CanonicalChunk> chunks) const {
  Json head = {{"made_with", made_with_}, {"name", name}, {"chunks", Json::array()}};
  for (const CanonicalChunk& chunk : chunks) head["chunks"].push_back(HeadOf(chunk));
  std::uint64_t checksum = Hash(head.dump());
  for (const CanonicalChunk& chunk : chunks) {
    checksum = Hash(chunk.planes, checksum);
    checksum = Hash(std::as_bytes(std::span(chunk.loadings)), checksum);
  }
  const std::string path = PathOf(name);
  std::string partial = path + ".XXXXXX";
  const int made = mkstemp(partial.data());
  if (made < 0) return Unavailable("cannot write in " + folder_);
  ::close(made);
  std::ofstream file(partial, std::ios::binary);
  file << Line(head, checksum);
  for (const CanonicalChunk& chunk : chunks) {
    const auto write = [&](std::span<const std::byte> bytes) {
      file.write(reinterpret_cast<const char*>(bytes.data()),
                 static_cast<std::streamsize>(bytes.size()));
    };
    write(chunk.planes);
    write(std::as_bytes(std::span(chunk.loadings)));
  }
  file.close();
  if (!file || std::rename(partial.c_str(), path.c_str()) != 0) {
    std::remove(partial.c_str());
    return Unavailable("cannot write " + path);
  }
  return Status();
}

}  // namespace kvcommons
