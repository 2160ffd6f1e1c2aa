// `kvcommons library ls`, `library status` and `library rm`.

#include <map>
#include <nlohmann/json.hpp>

#include "client/command/commands.h"
#include "client/command/stats.h"
#include "client/command/table.h"

namespace kvcommons {
namespace {

using nlohmann::json;

// "system, mean": what a text can be served from; of several applications' prefaces "2 mean".
std::string ReadyOf(const LibraryListing& listing) {
  std::map<RootKind, int> counts;
  for (const auto& variant : listing.variants) counts[variant.kind] += variant.ready ? 1 : 0;
  std::string text;
  for (const auto& [kind, count] : counts) {
    if (count == 0) continue;
    if (!text.empty()) text += ", ";
    if (count > 1) text += std::to_string(count) + " ";
    text += RootKindName(kind);
  }
  return text.empty() ? "nothing yet" : text;
}

json ToJson(const LibraryListing& listing) {
  json variants = json::array();
  for (const auto& variant : listing.variants) {
    variants.push_back({{"kind", RootKindName(variant.kind)},
                        {"root", variant.root},
                        {"prefaces", variant.prefaces},
                        {"prepare_us", variant.prepare_us},
                        {"ready", variant.ready}});
  }
  return {{"key", listing.key},           {"name", listing.name},
          {"model", listing.fingerprint}, {"content_key", listing.content_key},
          {"tokens", listing.tokens},     {"created_us", listing.created_us},
          {"variants", variants}};
}

int List(const CommandContext& context, const std::vector<LibraryListing>& texts) {
  if (context.arguments.is_json) {
    json result = json::array();
    for (const auto& text : texts) result.push_back(ToJson(text));
    context.out << JsonText(result) << '\n';
    return kExitOk;
  }
  if (texts.empty()) {
    context.out << "No text is in a library.\n";
    return kExitOk;
  }
  Table table({{"TEXT"}, {"KEY"}, {"TOKENS", Table::Align::kRight}, {"READY"}, {"CREATED (UTC)"}});
  for (const auto& text : texts) {
    table.AddRow({Printable(text.name), text.key, std::to_string(text.tokens), ReadyOf(text),
                  FormatTime(text.created_us)});
  }
  table.Print(context.out);
  return kExitOk;
}

struct ModelSum {
  std::uint64_t texts = 0, tokens = 0, prepare_us = 0;
  std::map<RootKind, std::uint64_t> ready;
};

int Sum(const CommandContext& context, const std::vector<LibraryListing>& texts) {
  std::map<std::string, ModelSum> models;
  for (const auto& text : texts) {
    ModelSum& sum = models[text.fingerprint];
    ++sum.texts;
    sum.tokens += text.tokens;
    for (const auto& variant : text.variants) {
      if (!variant.ready) continue;
      ++sum.ready[variant.kind];
      sum.prepare_us += variant.prepare_us;
    }
  }
  json result = json::array();
  Table table({{"MODEL"},
               {"TEXTS", Table::Align::kRight},
               {"TOKENS", Table::Align::kRight},
               {"READY"},
               {"PREPARED IN", Table::Align::kRight}});
  for (const auto& [model, sum] : models) {
    json ready = json::object();
    std::string ready_text;
    for (const auto& [kind, count] : sum.ready) {
      ready[std::string(RootKindName(kind))] = count;
      ready_text += (ready_text.empty() ? "" : ", ") + std::to_string(count) + " ";
      ready_text += RootKindName(kind);
    }
    result.push_back({{"model", model},
                      {"texts", sum.texts},
                      {"tokens", sum.tokens},
                      {"ready", ready},
                      {"prepare_us", sum.prepare_us}});
    table.AddRow({model, std::to_string(sum.texts), std::to_string(sum.tokens),
                  ready_text.empty() ? "nothing yet" : ready_text,
                  FormatDuration(static_cast<std::int64_t>(sum.prepare_us))});
  }
  if (context.arguments.is_json) {
    context.out << JsonText(result) << '\n';
  } else if (models.empty()) {
    context.out << "No text is in a library.\n";
  } else {
    table.Print(context.out);
  }
  return kExitOk;
}

int RemoveText(const CommandContext& context, Client& client,
               const std::vector<LibraryListing>& texts) {
  const std::string& name = context.arguments.key;
  std::vector<std::string> keys;
  for (const auto& text : texts) {
    if (text.key == name) keys.assign(1, text.key);
    if (text.key == name) break;
    if (text.name == name) keys.push_back(text.key);
  }
  if (keys.empty()) {
    return ReportFailure(context, NotFound("no library has a text \"" + Printable(name) +
                                           "\"; kvcommons library ls lists them"));
  }
  if (keys.size() > 1) {
    return ReportFailure(
        context,
        InvalidArgument(std::to_string(keys.size()) + " texts are called \"" + Printable(name) +
                        "\", one for each model: remove them by key, " + keys.front() + " first"));
  }
  const Result<bool> removed = client.Remove(keys.front());
  if (!removed) return ReportFailure(context, removed.error());
  if (context.arguments.is_json) {
    const json result = {{"key", keys.front()}, {"removed", *removed}};
    context.out << JsonText(result) << '\n';
  } else if (*removed) {
    context.out << "Removed " << keys.front() << ".\n";
  }
  return *removed ? kExitOk : kExitFailure;
}

}  // namespace

int RunLibrary(const CommandContext& context, Client& client) {
  const bool is_ls = context.arguments.command == Command::kLibraryLs;
  const auto texts = client.ListLibrary(is_ls ? context.arguments.limit : kMaxListed);
  if (!texts) return ReportFailure(context, texts.error());
  if (is_ls) return List(context, *texts);
  if (context.arguments.command == Command::kLibraryStatus) return Sum(context, *texts);
  return RemoveText(context, client, *texts);
}

}  // namespace kvcommons
