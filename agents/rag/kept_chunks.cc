#include "agents/rag/kept_chunks.h"

#include <unistd.h>
#include <zlib.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

namespace kvcommons {
namespace {

using Json = nlohmann::json;

constexpr const char* kMadeWithFile = "made_with.json";

template <typename T>
std::span<const std::byte> BytesOf(const std::vector<T>& values) {
  return std::as_bytes(std::span(values));
}

// An empty span may have no address, which zlib takes for the wish to begin anew.
uLong Checksum(uLong so_far, std::span<const std::byte> bytes) {
  if (bytes.empty()) return so_far;
  return crc32_z(so_far, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
}

// Reads `count` numbers and goes on with the checksum; false: the file ends before.
template <typename T>
bool Read(std::istream& file, std::size_t count, std::vector<T>& into, uLong& checksum) {
  into.resize(count);
  const auto size = static_cast<std::streamsize>(count * sizeof(T));
  if (!file.read(reinterpret_cast<char*>(into.data()), size)) return false;
  checksum = Checksum(checksum, BytesOf(into));
  return true;
}

// Whole or not at all; processes that write one file at once do not meet.
Status WriteWhole(const std::string& path, const std::string& head,
                  std::span<const std::span<const std::byte>> bodies) {
  const std::string partial = path + "." + std::to_string(::getpid());
  {
    std::ofstream file(partial, std::ios::binary);
    file << head << '\n';
    for (const auto body : bodies) {
      file.write(reinterpret_cast<const char*>(body.data()),
                 static_cast<std::streamsize>(body.size()));
    }
    if (!file.flush()) {
      std::remove(partial.c_str());
      return Unavailable("cannot write " + path);
    }
  }
  if (std::rename(partial.c_str(), path.c_str()) != 0) return Unavailable("cannot write " + path);
  return Status();
}

// Null: not there whole.
std::optional<PreparedChunks> ReadChunks(const std::string& path,
                                         std::span<const std::vector<TokenId>> tokens) {
  std::ifstream file(path, std::ios::binary);
  std::string head;
  if (!file || !std::getline(file, head)) return std::nullopt;
  const Json json = Json::parse(head);
  if (json.at("chunks").size() != tokens.size()) return std::nullopt;
  // Lengths come from a file: none beyond it is made room for.
  const std::uintmax_t file_bytes = std::filesystem::file_size(path);
  PreparedChunks prepared;
  prepared.prepare_ms = json.at("prepare_ms");
  uLong checksum = 0;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    const Json& one = json.at("chunks").at(i);
    CanonicalChunk chunk;
    chunk.tokens = one.at("tokens").get<std::vector<TokenId>>();
    if (chunk.tokens != tokens[i]) return std::nullopt;
    chunk.rank = one.at("rank");
    chunk.prefaces = one.at("prefaces");
    chunk.prepare_ms = one.at("prepare_ms");
    const std::size_t plane_bytes = one.at("plane_bytes"), loadings = one.at("loadings");
    if (plane_bytes > file_bytes || loadings > file_bytes / sizeof(float) ||
        !Read(file, plane_bytes, chunk.planes, checksum) ||
        !Read(file, loadings, chunk.loadings, checksum)) {
      return std::nullopt;
    }
    prepared.chunks.push_back(std::move(chunk));
  }
  if (checksum != json.at("crc32").get<uLong>()) return std::nullopt;
  return prepared;
}

}  // namespace

Result<KeptChunks> KeptChunks::Open(const std::string& folder, const std::string& made_with) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return Fail(Unavailable("cannot make " + folder + ": " + error.message()));
  const std::string path = folder + "/" + kMadeWithFile;
  std::ifstream file(path);
  if (!file) {
    KVC_FAIL_IF_ERROR(WriteWhole(path, made_with, {}));
    return KeptChunks(folder);
  }
  std::string known;
  std::getline(file, known);
  if (known != made_with) {
    return Fail(InvalidArgument("the chunks in " + folder + " were made with " + known +
                                ", these are made with " + made_with +
                                ": use another folder, or remove this one"));
  }
  return KeptChunks(folder);
}

std::string KeptChunks::PathOf(const std::string& name) const {
  std::string safe;
  for (const char c : name) {
    const bool plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                       c == '.' || c == '-' || c == '#';
    safe += plain ? c : '_';
  }
  return folder_ + "/" + safe + ".chunks";
}

std::optional<PreparedChunks> KeptChunks::Find(const std::string& name,
                                               std::span<const std::vector<TokenId>> tokens) const {
  try {
    return ReadChunks(PathOf(name), tokens);
  } catch (const std::exception&) {  // a head that is no head of ours
    return std::nullopt;
  }
}

Status KeptChunks::Keep(const std::string& name, const PreparedChunks& prepared) const {
  Json chunks = Json::array();
  uLong checksum = 0;
  std::vector<std::span<const std::byte>> bodies;
  for (const CanonicalChunk& chunk : prepared.chunks) {
    chunks.push_back({{"tokens", chunk.tokens},
                      {"rank", chunk.rank},
                      {"prefaces", chunk.prefaces},
                      {"prepare_ms", chunk.prepare_ms},
                      {"plane_bytes", chunk.planes.size()},
                      {"loadings", chunk.loadings.size()}});
    bodies.emplace_back(chunk.planes);
    bodies.push_back(BytesOf(chunk.loadings));
    checksum = Checksum(Checksum(checksum, bodies[bodies.size() - 2]), bodies.back());
  }
  const Json head = {{"prepare_ms", prepared.prepare_ms}, {"chunks", chunks}, {"crc32", checksum}};
  return WriteWhole(PathOf(name), head.dump(), bodies);
}

}  // namespace kvcommons
