// kvcommons-engine: the command line of the llama.cpp worker. Spells the commands; what they do is
// in commands.h and in the folders beside this one. A new command is one function and one line in
// kCommands.

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <functional>
#include <memory>

#include "agents/editor/edit_command.h"
#include "agents/engine/commands.h"
#include "agents/rag/library_command.h"
#include "agents/rag/rag_command.h"
#include "agents/rag/rag_daemon_command.h"
#include "agents/team/team_bench_command.h"
#include "agents/team/team_command.h"

namespace {

using kvcommons::CommonOptions;

struct Program {
  CLI::App app{"Runs a language model with KV rows from elsewhere.", "kvcommons-engine"};
  CommonOptions common;
  std::function<int()> action;  // of the command that was named
};

CLI::App* AddCommand(Program& program, CLI::App& parent, const char* name, const char* help) {
  CLI::App* command = parent.add_subcommand(name, help);
  // No envname() on what commands share: CLI11 takes it for those that were not named too, and so
  // puts it above what was given.
  command->add_option("--model", program.common.model_path, "GGUF file; default: $KVCOMMONS_MODEL")
      ->type_name("FILE");
  command
      ->add_option("--threads", program.common.threads, "processor threads; 0: all of the machine")
      ->check(CLI::Range(0, 1024));
  return command;
}

void AddEngineOptions(Program& program, CLI::App* command) {
  command->add_option("--context", program.common.context_tokens,
                      "tokens of context; 0: the model's, at most 8192");
  command->add_option("--kv", program.common.kv_type, "number type of KV rows: f16, f32")
      ->capture_default_str();
  command->add_option("--flash", program.common.flash, "flash attention: auto, on, off")
      ->capture_default_str();
  command->add_flag("!--fixed-costs", program.common.measure_costs,
                    "plan with built-in costs, so that equal runs make equal plans on any machine");
}

void AddJson(Program& program, CLI::App* command) {
  command
      ->add_option("--json", program.common.json_path,
                   "write JSON to FILE, or to standard output without one")
      ->expected(0, 1)
      ->default_str("-")
      ->type_name("FILE");
}

void AddDaemon(Program& program, CLI::App* command) {
  command
      ->add_option("--daemon", program.common.socket_path,
                   "socket of kvcommonsd; default: $KVCOMMONS_SOCKET, or the user's")
      ->type_name("SOCKET");
}

void AddGenerate(Program& program) {
  CLI::App* command =
      AddCommand(program, program.app, "generate", "Answers a prompt, greedily, without a daemon.");
  AddEngineOptions(program, command);
  AddJson(program, command);
  auto options = std::make_shared<kvcommons::GenerateOptions>();
  CLI::Option* prompt = command->add_option("--prompt", options->prompt, "the prompt's text");
  command->add_option("--prompt-file", options->prompt_path, "a file with it; -: standard input")
      ->excludes(prompt);
  command->add_option("--max-tokens", options->max_tokens, "tokens to generate at most")
      ->capture_default_str()
      ->check(CLI::Range(1, 1 << 24));
  command->add_flag("--raw", options->raw, "take names of control tokens in the prompt as text");
  command->callback([&program, options] {
    program.action = [&program, options] {
      return kvcommons::RunGenerateCommand(program.common, *options);
    };
  });
}

void AddConvert(Program& program) {
  CLI::App* command = AddCommand(program, program.app, "convert",
                                 "Writes a copy of the model with fp32 or fp16 weights.");
  auto type = std::make_shared<std::string>("f32");
  auto target = std::make_shared<std::string>();
  command->add_option("--type", *type, "number type of the weights: f32, f16")
      ->capture_default_str();
  command->add_option("TARGET", *target, "the file to write; must not exist")->required();
  command->callback([&program, type, target] {
    program.action = [&program, type, target] {
      return kvcommons::RunConvertCommand(program.common, *type, *target);
    };
  });
}

void AddGate(Program& program) {
  CLI::App* command = AddCommand(program, program.app, "gate",
                                 "Proves, or not, that this model's keys can be moved.");
  AddEngineOptions(program, command);
  AddJson(program, command);
  command->callback([&program] {
    program.action = [&program] { return kvcommons::RunGateCommand(program.common); };
  });
}

void AddEditOptions(Program& program, CLI::App* command,
                    const std::shared_ptr<kvcommons::EditCommandOptions>& options) {
  AddEngineOptions(program, command);
  AddJson(program, command);
  AddDaemon(program, command);
  command->add_option("--max-tokens", options->max_tokens, "tokens to generate and to compare on")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  command->add_option("--after-rows", options->after_rows, "rows recomputed after every edit")
      ->capture_default_str();
  command->add_option("--min-run", options->min_run, "shorter unchanged runs are computed")
      ->capture_default_str();
  command->add_option("--ask", options->ask, "text that follows the document in the prompt");
  command->add_flag("--held", options->held_only, "store in memory only, do not wait for the disk");
}

void AddEdit(Program& program) {
  CLI::App* command =
      AddCommand(program, program.app, "edit",
                 "Prefills an edited document from the stored rows of the version before it.");
  auto options = std::make_shared<kvcommons::EditCommandOptions>();
  auto files = std::make_shared<kvcommons::EditFiles>();
  AddEditOptions(program, command, options);
  command->add_option("--before", files->before_path, "the document before the edit")->required();
  command->add_option("--after", files->after_path, "the document after it")->required();
  command->add_option("--document", files->document,
                      "name of its lineage; default: the path of the file before");
  command->add_option("--policy", options->policy, "what may be reused: off, exact, edit")
      ->capture_default_str();
  command->add_flag("--compare", options->compare,
                    "also prefill in full and behind the exact prefix, and compare");
  command->callback([&program, options, files] {
    program.action = [&program, options, files] {
      options->common = program.common;
      return kvcommons::RunEditCommand(*options, *files);
    };
  });
}

void AddBenchEdits(Program& program, CLI::App& bench) {
  CLI::App* command =
      AddCommand(program, bench, "edits", "Many real edits, each beside full prefill.");
  auto options = std::make_shared<kvcommons::EditCommandOptions>();
  auto edits = std::make_shared<kvcommons::EditBenchOptions>();
  AddEditOptions(program, command, options);
  command
      ->add_option("--cases", edits->cases_path, "JSON lines of base and edits; -: standard input")
      ->required();
  command->add_option("--documents", edits->documents_max, "at most this many")
      ->capture_default_str();
  command->add_option("--tokens-min", edits->tokens_min, "of a document")->capture_default_str();
  command->add_option("--tokens-max", edits->tokens_max, "of a document")->capture_default_str();
  command->add_option("--edits", edits->edits_max, "of one document's chain, at most")
      ->capture_default_str();
  command->add_option("--changed-max", edits->changed_share_max, "share of bytes one edit changes")
      ->capture_default_str();
  command->add_option("--sweep", edits->after_rows, "run with each of these --after-rows")
      ->delimiter(',');
  command
      ->add_option("--dump", edits->dump_path,
                   "write each edit's token ids and first distribution to FILE, for other peers")
      ->type_name("FILE");
  command
      ->add_option("--same-as", edits->same_as_path,
                   "fail unless the logits equal those of an earlier run's --json FILE")
      ->type_name("FILE");
  command->add_flag("--peer-shift", edits->with_shift_peer,
                    "also measure llama.cpp's own shift of cached keys");
  command->callback([&program, options, edits] {
    program.action = [&program, options, edits] {
      options->common = program.common;
      return kvcommons::RunEditBench(*options, *edits);
    };
  });
}

void AddBenchFidelity(Program& program, CLI::App& bench);
void AddBenchTeam(Program& program, CLI::App& bench);

void AddBench(Program& program) {
  CLI::App* bench = program.app.add_subcommand("bench", "Measures, beside the bound.");
  bench->require_subcommand(1);
  CLI::App* prefill = AddCommand(program, *bench, "prefill",
                                 "Prefill through this engine and through plain libllama.");
  AddEngineOptions(program, prefill);
  AddJson(program, prefill);
  auto options = std::make_shared<kvcommons::PrefillBenchOptions>();
  prefill->add_option("--tokens", options->tokens, "length of the prompt")->capture_default_str();
  prefill->add_option("--behind", options->behind, "rows that are held already, before the prompt")
      ->capture_default_str();
  prefill->add_option("--repeats", options->repeats, "measured turns")->capture_default_str();
  prefill->callback([&program, options] {
    program.action = [&program, options] {
      return kvcommons::RunPrefillBench(program.common, *options);
    };
  });
  AddBenchEdits(program, *bench);
  AddBenchFidelity(program, *bench);
  AddBenchTeam(program, *bench);
}

void AddPromptOptions(CLI::App* command, kvcommons::PromptText& prompt) {
  command
      ->add_option("--system", prompt.system,
                   "the application's system prompt; default: the model's own, if it is known; '': "
                   "none")
      ->type_name("TEXT");
  command->add_option("--instruction", prompt.instruction, "what stands before the first passage")
      ->type_name("TEXT");
  command
      ->add_option("--chat", prompt.chat,
                   "chat format: auto (the model's), plain, or a name that llama.cpp has (chatml)")
      ->capture_default_str()
      ->type_name("NAME");
}

void AddFidelityOptions(CLI::App* command, kvcommons::FidelityOptions& fidelity) {
  command->add_option("--rule,--rules", fidelity.rules, "selection rules, with commas")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("--budget,--budgets", fidelity.budgets,
                   "charged budgets, with commas; auto, with --daemon: by what loading hides")
      ->delimiter(',')
      ->capture_default_str();
  command
      ->add_option("--completion", fidelity.completion,
                   "on, off or both; off: a rule's own (shift)")
      ->capture_default_str();
  command
      ->add_option("--variant,--variants", fidelity.variants,
                   "canonical rows the rules work on: sink, system, mean, near, together")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--ranks", fidelity.ranks, "loadings cut to these ranks; 0: as they are")
      ->delimiter(',')
      ->check(CLI::Range(0, 64));
  command->add_option("--preface-count", fidelity.prefaces, "prefaces that a chunk is made behind")
      ->capture_default_str()
      ->check(CLI::Range(2, 64));
  command->add_option("--passages", fidelity.passages, "passages of a preface")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  command->add_option("--max-tokens", fidelity.forced_tokens, "tokens to compare on")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
  AddPromptOptions(command, fidelity.prompt);
  command->add_flag("--place-before", fidelity.place_before,
                    "place all rows before any pass, not layer by layer beside the first");
  command->add_flag("--answers", fidelity.answers, "also generate answers and give their F1");
  command->add_flag("--timed", fidelity.timed,
                    "nothing else runs on this machine: times are worth keeping");
  command->add_option("--seed", fidelity.seed, "of shuffles, the rule random and intervals")
      ->capture_default_str();
}

void AddRag(Program& program) {
  CLI::App* command =
      AddCommand(program, program.app, "rag",
                 "Questions over passages composed of KV made apart, beside full prefill.");
  AddEngineOptions(program, command);
  AddJson(program, command);
  auto rag = std::make_shared<kvcommons::RagOptions>();
  command
      ->add_option("--cases", rag->cases_path,
                   R"(JSON lines {"chunks": [text], "question", "answer"?}; -: standard input)")
      ->required();
  command->add_option("--cases-max", rag->cases_max, "at most this many")->capture_default_str();
  std::vector<CLI::Option*> alone;  // without a daemon
  alone.push_back(command->add_option("--chunks", rag->limits.chunks_max,
                                      "use the first N chunks of a case alone; 0: all"));
  alone.push_back(command->add_option("--chunk-tokens", rag->limits.chunk_tokens,
                                      "cut longer chunks; 0: none is cut"));
  for (CLI::Option* option : alone) option->capture_default_str()->type_name("N");
  AddFidelityOptions(command, rag->fidelity);
  auto daemon = std::make_shared<kvcommons::DaemonRagOptions>();
  CLI::Option* is_daemon =
      command
          ->add_option(
              "--daemon", program.common.socket_path,
              "compose from the library of kvcommonsd; without SOCKET: as elsewhere. A chunk "
              "may then be {\"doc\": NAME}")
          ->expected(0, 1)
          ->type_name("SOCKET");
  for (const char* name : {"--ranks", "--preface-count", "--passages", "--timed"}) {
    alone.push_back(command->get_option(name));
  }
  for (CLI::Option* option : alone) option->excludes(is_daemon);
  command->add_flag("--put", daemon->put, "put the texts into the library and prepare them first")
      ->needs(is_daemon);
  command->add_flag("--compare", daemon->compare,
                    "also prefill in full, and compare; always, without --daemon");
  command->add_flag("--store", daemon->store, "keep the exact rows of the prompts' beginnings")
      ->needs(is_daemon);
  command
      ->add_option("--canary-share", daemon->canary_share,
                   "of the prompts that are checked against full prefill, for the daemon")
      ->capture_default_str()
      ->needs(is_daemon);
  command
      ->add_option("--canary-seed", daemon->canary_seed,
                   "which prompts are drawn for that; default: by chance")
      ->needs(is_daemon);
  command
      ->add_option("--least-ratio", daemon->auto_budget.least_ratio,
                   "of reused rows, that --budget auto computes again")
      ->capture_default_str()
      ->needs(is_daemon);
  command
      ->add_option("--most-ratio", daemon->auto_budget.most_ratio,
                   "of reused rows, that --budget auto computes again")
      ->capture_default_str()
      ->needs(is_daemon);
  const CLI::Option* variant = command->get_option("--variant");
  command->callback([&program, rag, daemon, is_daemon, variant] {
    program.action = [&program, rag, daemon, is_daemon, variant] {
      if (is_daemon->count() == 0) return kvcommons::RunRagCommand(program.common, *rag);
      daemon->cases_path = rag->cases_path;
      daemon->cases_max = rag->cases_max;
      daemon->prompt = rag->fidelity.prompt;
      daemon->rules = rag->fidelity.rules;
      daemon->budgets = rag->fidelity.budgets;
      daemon->completion = rag->fidelity.completion;
      // Without the option: whatever the library has.
      if (variant->count() > 0) daemon->variants = rag->fidelity.variants;
      daemon->max_tokens = rag->fidelity.forced_tokens;
      daemon->seed = rag->fidelity.seed;
      daemon->place_before = rag->fidelity.place_before;
      return kvcommons::RunDaemonRagCommand(program.common, *daemon);
    };
  });
}

void AddLibraryPut(Program& program, CLI::App& library) {
  CLI::App* command = AddCommand(program, library, "put", "Puts texts into the daemon's library.");
  AddEngineOptions(program, command);
  AddJson(program, command);
  AddDaemon(program, command);
  auto put = std::make_shared<kvcommons::LibraryPutOptions>();
  AddPromptOptions(command, put->prompt);
  command->add_option("FILES", put->paths, "one document each")->required();
  command->add_option("--name", put->name, "of a single document; default: the file's name");
  command
      ->add_option("--related", put->related,
                   "names of documents that these are used together with, with commas")
      ->delimiter(',');
  command->callback([&program, put] {
    program.action = [&program, put] { return kvcommons::RunLibraryPut(program.common, *put); };
  });
}

void AddLibrary(Program& program) {
  CLI::App* library = program.app.add_subcommand(
      "library", "Documents that prompts are composed of; kvcommons library lists them.");
  library->require_subcommand(1);
  AddLibraryPut(program, *library);
  CLI::App* command = AddCommand(
      program, *library, "prepare",
      "Prefills what is waiting in the library. Exit code 3: documents were passed over.");
  AddEngineOptions(program, command);
  AddJson(program, command);
  AddDaemon(program, command);
  auto prepare = std::make_shared<kvcommons::LibraryPrepareOptions>();
  AddPromptOptions(command, prepare->prompt);
  command->add_flag("--watch", prepare->watch, "go on until interrupted");
  command
      ->add_option("--variant,--variants", prepare->variants,
                   "of sink, system, warm, mean, near; default: system, mean and near")
      ->delimiter(',');
  command->add_flag("--held", prepare->held_only, "store in memory only, do not wait for the disk");
  command->callback([&program, prepare] {
    program.action = [&program, prepare] {
      return kvcommons::RunLibraryPrepare(program.common, *prepare);
    };
  });
}

// What both commands of a team take.
void AddTeamCases(CLI::App* command, kvcommons::TeamCaseOptions& cases, std::string& graph_path,
                  const std::string& warm) {
  command->add_option("--graph", graph_path, "TOML file of the team")->required();
  command
      ->add_option("--cases", cases.cases_path,
                   R"(JSON lines {"id"?, field: text} with the fields that prompts name; -: )"
                   "standard input")
      ->required();
  const CLI::Range count(0U, 1U << 20);
  command->add_option("--first", cases.first_case, "the first case that is read")
      ->capture_default_str()
      ->check(count);
  command->add_option("--cases-max", cases.cases_max, "at most this many are measured")
      ->check(CLI::Range(1U, 1U << 20));
  command->add_option("--warm", cases.warm_cases, warm)->capture_default_str()->check(count);
  command->add_option("--samples", cases.samples_path, "add every case to FILE as a JSON line")
      ->type_name("FILE");
}

void AddTeamComparison(CLI::App* command, std::string& chat, std::uint32_t& forced_tokens) {
  command->add_option("--chat", chat, "chat format: auto (the model's), plain, none, or its name")
      ->capture_default_str();
  command->add_option("--max-tokens", forced_tokens, "tokens to compare on")
      ->capture_default_str()
      ->check(CLI::Range(1, 1024));
}

void AddTeam(Program& program) {
  CLI::App* command = AddCommand(program, program.app, "team",
                                 "Agents that read the same contents, each prefilled once and "
                                 "corrected for every reader by what earlier ones taught.");
  AddEngineOptions(program, command);
  AddDaemon(program, command);
  AddJson(program, command);
  auto team = std::make_shared<kvcommons::TeamCommandOptions>();
  AddTeamCases(command, team->cases, team->graph_path,
               "cases before those, answered but not measured");
  command
      ->add_option("--mode", team->mode,
                   "dense, exact, rotate, mean+seg, trust+seg or C+seg; turn, mean or trust: the "
                   "text between contents is not computed; +b4 behind all but the first two: the "
                   "first 4 rows of every content are computed")
      ->capture_default_str();
  command->add_flag("--compare", team->compare,
                    "beside dense prefill and an exact prefix cache: times, KL, top-1");
  command
      ->add_option("--answer-tokens", team->answer_tokens,
                   "of an answer at most, whatever the graph says; 0: as it says")
      ->capture_default_str()
      ->check(CLI::Range(0U, 1U << 16));
  command->add_flag("--fill-answers", team->fills_answers,
                    "for timing: answers that end early are filled up to that length");
  command->add_option("--team", team->team, "name of the team; default: the graph's");
  command
      ->add_option(
          "--canary-share", team->canary_share,
          "of the calls that reused contents, checked against dense prefill, for the daemon")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  command->add_option("--canary-seed", team->canary_seed,
                      "which calls are drawn for that; default: by chance");
  command
      ->add_option("--least-deposits", team->least_deposits,
                   "contents that a mean must be of before it corrects others")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  command->add_option("--gamma", team->gamma, "of the gate, which C+seg asks")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  command->add_flag("--allow-tools", team->allow_tools,
                    "run the programs that the graph names, without network, as this user");
  AddTeamComparison(command, team->chat, team->forced_tokens);
  command->add_flag("--held", team->held_only, "store in memory only, do not wait for the disk");
  command->callback([&program, team] {
    program.action = [&program, team] { return kvcommons::RunTeamCommand(program.common, *team); };
  });
}

void AddBenchTeam(Program& program, CLI::App& bench) {
  CLI::App* command = AddCommand(program, bench, "team",
                                 "Every way of reusing a team's contents beside dense prefill, in "
                                 "one process.");
  AddEngineOptions(program, command);
  AddJson(program, command);
  auto team = std::make_shared<kvcommons::TeamBenchOptions>();
  AddTeamCases(command, team->cases, team->graph_path,
               "cases before those, prefilled densely; offsets are learned from all cases");
  command
      ->add_option(
          "--modes", team->modes,
          "dense, exact, rotate, mean+seg, trust+seg, C+seg; turn, mean, trust, C, R: the text "
          "between contents is not computed; +b4 behind all but the first two: the first 4 rows of "
          "every content are computed; compose, or +d10 where the text is computed: 10 % of "
          "contents' rows, chosen by the rule design")
      ->delimiter(',')
      ->capture_default_str();
  AddTeamComparison(command, team->chat, team->forced_tokens);
  command->add_option("--gamma", team->gamma, "of the gate, which is asked and decides nothing yet")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  command
      ->add_option("--control", team->control_path,
                   "other weights of the same model, dense, beside the modes: how far modes differ "
                   "means little without it")
      ->type_name("FILE");
  command->add_flag("--first-reader", team->first_reader,
                    "a field's own rows are those of the first agent that reads it");
  command
      ->add_option("--pool-bytes", team->pool_bytes, "bound of all anchors; means are not counted")
      ->capture_default_str()
      ->check(CLI::Range(std::uint64_t{1} << 20, std::uint64_t{1} << 40));
  command->add_option("--seed", team->seed, "of intervals")->capture_default_str();
  command->callback([&program, team] {
    program.action = [&program, team] { return kvcommons::RunTeamBench(program.common, *team); };
  });
}

void AddBenchFidelity(Program& program, CLI::App& bench) {
  CLI::App* command =
      AddCommand(program, bench, "fidelity",
                 "Composed prompts of real questions beside full prefill: rules, budgets.");
  AddEngineOptions(program, command);
  AddJson(program, command);
  auto options = std::make_shared<kvcommons::FidelityBenchOptions>();
  command->add_option("--data", options->data_path, "folder of real data")
      ->envname("KVCOMMONS_DATA")
      ->required()
      ->type_name("DIR");
  command
      ->add_option("--setting,--settings", options->settings,
                   "source and size: cacheblend, musique, hotpotqa; 0.8k, 2k, 5k")
      ->delimiter(',')
      ->capture_default_str();
  command->add_option("--cases", options->cases, "of each setting")
      ->capture_default_str()
      ->check(CLI::Range(1, 1'000'000));
  command
      ->add_option("--samples", options->samples_path,
                   "keep measured cases in FILE; rows that are there are not made again")
      ->type_name("FILE");
  command
      ->add_option("--chunks", options->fidelity.chunks_path,
                   "keep prepared chunks in DIR; those that are there are not made again")
      ->type_name("DIR");
  command->add_option("--first", options->first, "case to begin with, of each setting")
      ->capture_default_str()
      ->check(CLI::Range(0, 1'000'000));
  AddFidelityOptions(command, options->fidelity);
  command->callback([&program, options] {
    program.action = [&program, options] {
      return kvcommons::RunFidelityBench(program.common, *options);
    };
  });
}

constexpr void (*kCommands[])(Program&) = {AddGenerate, AddEdit,    AddConvert, AddGate,
                                           AddRag,      AddLibrary, AddTeam,    AddBench};

}  // namespace

int main(int argc, char** argv) {
  Program program;
  program.app.require_subcommand(1);
  for (const auto add : kCommands) add(program);
  try {
    program.app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    // 0 for --help; everything else is wrong use.
    return program.app.exit(error) == 0 ? 0 : 2;
  }
  const char* const model = std::getenv("KVCOMMONS_MODEL");
  if (program.common.model_path.empty() && model != nullptr) program.common.model_path = model;
  return program.action();
}
