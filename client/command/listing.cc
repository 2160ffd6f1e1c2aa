// `kvcommons ls`, `kvcommons explain` and `kvcommons rm`.

#include <iterator>
#include <nlohmann/json.hpp>

#include "base/bytes.h"
#include "client/command/commands.h"
#include "client/command/stats.h"
#include "client/command/table.h"

namespace kvcommons {
namespace {

using nlohmann::json;

const char* ClassName(std::uint8_t storage_class) {
  constexpr const char* kNames[] = {"exact", "canonical", "revision", "team"};
  return storage_class < std::size(kNames) ? kNames[storage_class] : "unknown";
}

const char* ClassMeaning(std::uint8_t storage_class) {
  constexpr const char* kMeanings[] = {
      "exact: bytes are interchangeable wherever the same text begins a prompt",
      "canonical: computed behind a fixed preface, depends on its own text only",
      "revision: private rows of one document version, approximate, readable through it only",
      "team: private rows of a team's contents, and offsets measured on them, approximate"};
  return storage_class < std::size(kMeanings) ? kMeanings[storage_class] : "unknown";
}

std::string PlaceOf(const BlockListing& block) {
  if (block.in_memory && block.on_disk) return "memory+disk";
  return block.in_memory ? "memory" : block.on_disk ? "disk" : "nowhere";
}

json ToJson(const BlockListing& block) {
  return {{"key", block.key},
          {"class", ClassName(block.storage_class)},
          {"tokens", block.tokens},
          {"origin", block.origin},
          {"bytes", block.bytes},
          {"in_memory", block.in_memory},
          {"on_disk", block.on_disk},
          {"pins", block.pins},
          {"created_us", block.created_us}};
}

json ToJson(const DocumentListing& document) {
  return {{"key", document.key},
          {"name", document.name},
          {"revision", document.revision},
          {"tokens", document.tokens},
          {"created_us", document.created_us}};
}

void PrintBlock(std::ostream& out, const BlockListing& block) {
  Table table({{"", Table::Align::kLeft}, {"", Table::Align::kLeft}});
  table.AddRow({"block", block.key});
  table.AddRow({"class", ClassMeaning(block.storage_class)});
  table.AddRow({"tokens", std::to_string(block.tokens) + ", keys rotated for positions " +
                              std::to_string(block.origin) + " and on"});
  table.AddRow({"bytes", FormatBytes(block.bytes)});
  table.AddRow({"where", PlaceOf(block) + (block.on_disk ? "" : " (lost when the daemon ends)")});
  table.AddRow({"leases", block.pins == 0 ? "none: may be evicted"
                                          : std::to_string(block.pins) + ": stays in memory"});
  table.AddRow({"created", FormatTime(block.created_us) + " UTC"});
  table.Print(out);
}

void PrintDocument(std::ostream& out, const DocumentListing& document) {
  Table table({{"", Table::Align::kLeft}, {"", Table::Align::kLeft}});
  table.AddRow({"document", Printable(document.name)});
  table.AddRow({"key", document.key});
  table.AddRow({"revision", std::to_string(document.revision) + ": the next edit starts from it"});
  table.AddRow({"tokens", std::to_string(document.tokens)});
  table.AddRow({"created", FormatTime(document.created_us) + " UTC"});
  table.Print(out);
}

bool IsKey(const std::string& text) {
  return text.size() == 32 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// The key itself, or the key of the one document that is called so.
Result<std::string> KeyOf(Client& client, const std::string& name) {
  if (IsKey(name)) return name;
  const Result<Listing> listing = client.List(kMaxListed);
  if (!listing) return Fail(listing.error());
  std::vector<std::string> keys;
  for (const auto& document : listing->documents) {
    if (document.name == name) keys.push_back(document.key);
  }
  if (keys.empty()) {
    return Fail(NotFound("\"" + Printable(name) +
                         "\" is neither a key (32 hexadecimal digits, lower case) nor the name of "
                         "a document; kvcommons ls lists both"));
  }
  if (keys.size() > 1) {
    return Fail(InvalidArgument(std::to_string(keys.size()) + " documents are called \"" +
                                Printable(name) + "\", one for each model: remove them by key, " +
                                keys.front() + " first"));
  }
  return keys.front();
}

}  // namespace

int RunLs(const CommandContext& context, Client& client) {
  const Result<Listing> listing = client.List(context.arguments.limit);
  if (!listing) return ReportFailure(context, listing.error());
  if (context.arguments.is_json) {
    json result = {{"documents", json::array()}, {"blocks", json::array()}};
    for (const auto& document : listing->documents) result["documents"].push_back(ToJson(document));
    for (const auto& block : listing->blocks) result["blocks"].push_back(ToJson(block));
    context.out << JsonText(result) << '\n';
    return kExitOk;
  }
  if (listing->documents.empty() && listing->blocks.empty()) {
    context.out << "Nothing is stored for " << Printable(client.info().tenant) << ".\n";
    return kExitOk;
  }
  Table documents({{"DOCUMENT"},
                   {"KEY"},
                   {"REVISION", Table::Align::kRight},
                   {"TOKENS", Table::Align::kRight},
                   {"CREATED (UTC)"}});
  for (const auto& document : listing->documents) {
    documents.AddRow({Printable(document.name), document.key, std::to_string(document.revision),
                      std::to_string(document.tokens), FormatTime(document.created_us)});
  }
  if (!listing->documents.empty()) documents.Print(context.out);
  Table blocks({{"BLOCK"},
                {"CLASS"},
                {"TOKENS", Table::Align::kRight},
                {"ORIGIN", Table::Align::kRight},
                {"BYTES", Table::Align::kRight},
                {"WHERE"},
                {"LEASES", Table::Align::kRight},
                {"CREATED (UTC)"}});
  for (const auto& block : listing->blocks) {
    blocks.AddRow({block.key, ClassName(block.storage_class), std::to_string(block.tokens),
                   std::to_string(block.origin), FormatBytes(block.bytes), PlaceOf(block),
                   std::to_string(block.pins), FormatTime(block.created_us)});
  }
  if (!listing->documents.empty() && !listing->blocks.empty()) context.out << '\n';
  if (!listing->blocks.empty()) blocks.Print(context.out);
  if (listing->blocks.size() >= context.arguments.limit) {
    context.err << "Stopped at " << listing->blocks.size() << " blocks"
                << (context.arguments.limit < kMaxListed ? ": --limit lists more.\n" : ".\n");
  }
  return kExitOk;
}

int RunExplain(const CommandContext& context, Client& client) {
  const Result<Listing> listing = client.List(kMaxListed);
  if (!listing) return ReportFailure(context, listing.error());
  const std::string& name = context.arguments.key;
  const auto matches = [&name](const std::string& key) {
    return name.size() >= 4 && key.compare(0, name.size(), name) == 0;
  };
  json found = json::array();
  std::size_t count = 0;
  for (const auto& document : listing->documents) {
    if (document.name != name && !matches(document.key)) continue;
    if (context.arguments.is_json) {
      found.push_back({{"document", ToJson(document)}});
    } else {
      if (count > 0) context.out << '\n';
      PrintDocument(context.out, document);
    }
    ++count;
  }
  for (const auto& block : listing->blocks) {
    if (!matches(block.key)) continue;
    if (context.arguments.is_json) {
      found.push_back({{"block", ToJson(block)}});
    } else {
      if (count > 0) context.out << '\n';
      PrintBlock(context.out, block);
    }
    ++count;
  }
  if (count == 0) {
    return ReportFailure(
        context,
        NotFound("no block or document of " + Printable(client.info().tenant) + " is called \"" +
                 Printable(name) + "\"; kvcommons ls lists them (keys: 4 digits at least)"));
  }
  if (context.arguments.is_json) context.out << JsonText(found) << '\n';
  return kExitOk;
}

int RunRemove(const CommandContext& context, Client& client) {
  const Result<std::string> key = KeyOf(client, context.arguments.key);
  if (!key) return ReportFailure(context, key.error());
  const Result<bool> removed = client.Remove(*key);
  if (!removed) return ReportFailure(context, removed.error());
  if (context.arguments.is_json) {
    const json result = {{"key", *key}, {"removed", *removed}};
    context.out << JsonText(result) << '\n';
    return *removed ? kExitOk : kExitFailure;
  }
  if (!*removed) {
    return ReportFailure(
        context, NotFound("there is no block or document " + *key + "; kvcommons ls lists them"));
  }
  context.out << "Removed " << *key << ".\n";
  return kExitOk;
}

}  // namespace kvcommons
