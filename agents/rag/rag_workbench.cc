#include "agents/rag/rag_workbench.h"

#include <utility>

#include "agents/rag/library_prefaces.h"

namespace kvcommons {
namespace {

constexpr std::uint32_t kUbatchTokens = 4096;  // a pass is one ubatch: see Composer

}  // namespace

Result<std::unique_ptr<RagWorkbench>> RagWorkbench::Open(const CommonOptions& options,
                                                         const PromptText& prompt) {
  std::unique_ptr<RagWorkbench> bench(new RagWorkbench());
  auto engine_options = ToEngineOptions(options);
  if (!engine_options) return Fail(engine_options.error());
  engine_options->ubatch_tokens = kUbatchTokens;
  if (options.context_tokens > 0 && options.context_tokens < kUbatchTokens) {
    engine_options->ubatch_tokens = options.context_tokens;
  }
  auto engine = Engine::Open(*engine_options);
  if (!engine) return Fail(engine.error());
  bench->engine_ = std::move(*engine);
  auto format = PromptFormat::Of(*bench->engine_, prompt);
  if (!format) return Fail(format.error());
  bench->format_ = std::move(*format);
  const auto gate = bench->engine_->RunGate();
  if (!gate) return Fail(gate.error());

  auto client = Client::Connect({.socket_path = options.socket_path, .name = "kvcommons-engine"});
  if (!client) return Fail(client.error());
  bench->client_ = std::move(*client);
  auto model = bench->client_->OpenModel(bench->engine_->profile(), *gate);
  if (!model) return Fail(model.error());
  bench->model_ = std::move(*model);
  const auto prefaces = LibraryPrefacesOf(*bench->engine_, *bench->format_);
  if (!prefaces) return Fail(prefaces.error());
  auto library = bench->model_->OpenLibrary(*prefaces);
  if (!library) return Fail(library.error());
  bench->library_ = std::move(*library);
  bench->session_ = std::make_unique<RagSession>(*bench->engine_, bench->model_.get(),
                                                 bench->library_.get(), bench->clock_);
  return bench;
}

}  // namespace kvcommons
