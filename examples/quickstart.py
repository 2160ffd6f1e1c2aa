"""The quickstart's story: build, model, daemon, three real edits of a real document, SIGKILL, restart; then
questions over the same four documents in another order each time; then four agents that read the same questions
and each other's answers.

Started by examples/quickstart, which installs the packages first. Only the standard library is used.
"""
import argparse
import gzip
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BIN = os.path.join(ROOT, "build", "release", "bin")
VERSIONS = [os.path.join(ROOT, "examples", "quickstart_data", f"pep-0604.{i}.rst") for i in range(4)]
DATA = os.path.join(ROOT, "examples", "quickstart_data")
DOCUMENTS = [os.path.join(DATA, "documents", f"{name}.txt") for name in ("bakery", "ferry", "library", "observatory")]
TEAM = os.path.join(ROOT, "examples", "team_of_four.toml")
LEARNED_FROM, MEASURED = 5, 3  # questions of the team
EDITS = ["a sentence is corrected", "an author is added", "one letter is removed"]


class Progress:
    """One line on a terminal, redrawn; a line per step elsewhere."""

    def __init__(self):
        self.live = sys.stderr.isatty()
        self.begun = time.monotonic()

    def show(self, step, share):
        if self.live:
            bar = "#" * int(30 * share)
            sys.stderr.write(f"\r\033[K[{bar:<30}] {100 * share:3.0f} %  {step}")
            sys.stderr.flush()

    def done(self, step):
        if self.live:
            sys.stderr.write("\r\033[K")
        sys.stderr.write(f"{time.monotonic() - self.begun:6.1f} s  {step}\n")
        sys.stderr.flush()


def fail(message, log=""):
    sys.stderr.write(f"\nquickstart: {message}\n{log}")
    sys.exit(1)


def build(progress):
    for command, name in ((["scripts/configure", "release"], "configuring (libllama: a few minutes, once)"),
                          (["cmake", "--build", "build/release", "--target", "kvcommonsd", "kvcommons",
                            "kvcommons-engine"], "compiling")):
        progress.show(name, 0)
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        lines = []
        for line in process.stdout:
            lines.append(line)
            step = re.match(r"\[(\d+)/(\d+)\]", line)
            if step:
                progress.show(name, int(step[1]) / int(step[2]))
        if process.wait():
            fail(f"{' '.join(command)} failed", "".join(lines[-30:]))
    progress.done("built")


def fetch_model(progress):
    progress.show("getting the model", 0)
    run = subprocess.run(["scripts/fetch_model", "build/deps/models"], cwd=ROOT, capture_output=True, text=True)
    if run.returncode:
        fail("the model could not be had", run.stderr)
    path = os.path.join(ROOT, run.stdout.strip().splitlines()[-1])
    progress.done(f"model: {os.path.basename(path)}")
    return path


class Daemon:
    def __init__(self, folder):
        self.folder = folder
        self.socket = os.path.join(folder, "kvcommons.sock")
        self.log = open(os.path.join(folder, "log"), "ab")
        self.process = None

    def start(self):
        begun = time.monotonic()
        self.process = subprocess.Popen(
            [f"{BIN}/kvcommonsd", "--data-dir", os.path.join(self.folder, "data"), "--socket", self.socket,
             "--http", "off"], stdout=self.log, stderr=self.log)
        while subprocess.run([f"{BIN}/kvcommons", "--socket", self.socket, "status"],
                             stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode:
            if self.process.poll() is not None or time.monotonic() - begun > 60:
                fail("the daemon did not start", open(self.log.name).read()[-2000:])
        return time.monotonic() - begun

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()


def engine(model, daemon, threads, *arguments):
    """Runs a command of kvcommons-engine against the daemon; what it writes as JSON."""
    out = os.path.join(daemon.folder, "engine.json")
    command = [f"{BIN}/kvcommons-engine", *arguments, "--model", model, "--daemon", daemon.socket, "--json", out]
    if threads:
        command += ["--threads", str(threads)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        fail("failed: " + " ".join(command), run.stdout + run.stderr)
    with open(out) as file:
        return json.load(file)


def edit(model, daemon, before, after, threads):
    return engine(model, daemon, threads, "edit", "--before", before, "--after", after, "--document", "pep-0604",
                  "--policy", "edit", "--compare", "--max-tokens", "32")


def library(model, daemon, threads, progress):
    """Four documents, prefilled once; three questions over them, each with the documents in another order."""
    progress.show("four documents are put into the library and prepared", 0)
    engine(model, daemon, threads, "library", "put", *DOCUMENTS)
    prepared = engine(model, daemon, threads, "library", "prepare", "--variants", "mean")
    progress.done(f"four documents put into the library and prepared: {prepared['prefills']} prefills, once")
    progress.show("three questions over them", 0.5)
    questions = engine(model, daemon, threads, "rag", "--cases", os.path.join(DATA, "questions.jsonl"), "--compare",
                       "--max-tokens", "16")
    progress.done("three questions over them, each with the documents in another order")
    return {"prepared": prepared, "questions": questions}


def team_questions(folder):
    """Real questions where there are some, our own otherwise: a file of them, and where they come from."""
    real = os.path.join(os.environ.get("KVCOMMONS_DATA", ""), "agents-questions", "gsm8k_test.jsonl.gz")
    if not os.path.exists(real):
        return os.path.join(DATA, "team_questions.jsonl"), "of our own"
    path = os.path.join(folder, "questions.jsonl")
    with gzip.open(real, "rt") as source, open(path, "w") as file:
        file.writelines(line for line, _ in zip(source, range(LEARNED_FROM + MEASURED)))
    return path, "of GSM8K"


def team(model, daemon, threads, progress):
    """Four agents at questions; the first questions teach how each agent's context changes what it reads."""
    progress.show("four agents at the same questions", 0.5)
    questions, source = team_questions(daemon.folder)
    report = engine(model, daemon, threads, "team", "--graph", TEAM, "--cases", questions, "--warm",
                    str(LEARNED_FROM), "--cases-max", str(MEASURED), "--least-deposits", "2", "--compare",
                    "--answer-tokens", "40")
    report["source"] = source
    progress.done(f"four agents at {LEARNED_FROM + MEASURED} questions")
    return report


def agent_row(row):
    def number(field, form):
        return format(row[field], form) if field in row else "-"
    gain = row["ttft_dense_ms"] / row["ttft_ms"]
    return (f"{row['agent']:<14} {row['mode']:<9} {row['reason']:<13} {row['hits']:>3}/{row['calls']:<3} "
            f"{number('ttft_dense_ms', '7.0f'):>7} {number('ttft_exact_ms', '7.0f'):>7} {row['ttft_ms']:>7.0f} "
            f"{gain:>6.1f}x {100 * row['charged']:>6.1f} % {row['kl']:>9.1e} {row['top1']:>6.2f}")


def row(name, result):
    t, ms = result["tokens"], result["ttft_ms"]
    return (f"{name:<26} {t['total']:>6} {t['exact']:>6} {t['moved']:>6} {t['computed']:>6} "
            f"{ms['full']:>8.0f} {ms['exact']:>8.0f} {ms['edit']:>7.0f} {ms['full'] / ms['edit']:>6.1f}x "
            f"{result['kl_mean']:>9.1e} {result['top1_agreement']:>6.2f}")


def question_row(result):
    t = result["tokens"]
    full, composed = result["ttft_full_ms"], result["ttft_ms"]
    return (f"{result['id']:<26} {t['total']:>6} {t['canonical']:>6} {t['recomputed']:>6} {t['fresh']:>6} "
            f"{full:>8.0f} {100 * result['charged']:>6.1f} % {composed:>7.0f} {full / composed:>6.1f}x "
            f"{result['kl']:>9.1e} {result['top1']:>6.2f}")


def main():
    parser = argparse.ArgumentParser(prog="examples/quickstart", description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="write the results to FILE")
    parser.add_argument("--threads", type=int, default=0, help="of the engine (default: all)")
    parser.add_argument("--keep", action="store_true", help="keep the daemon's folder and say where it is")
    parser.add_argument("--started", type=int, default=int(time.time()), help=argparse.SUPPRESS)
    args = parser.parse_args()

    progress = Progress()
    build(progress)
    model = fetch_model(progress)
    folder = tempfile.mkdtemp(prefix="kvcommons-quickstart-")
    daemon = Daemon(folder)
    results, after_restart = [], None
    try:
        daemon.start()
        progress.done("daemon started on an empty store")
        for i, name in enumerate(EDITS):
            progress.show(f"edit {i + 1}: {name}", i / (len(EDITS) + 1))
            results.append(edit(model, daemon, VERSIONS[i], VERSIONS[i + 1], args.threads))
            progress.done(f"edit {i + 1}: {name}")
        daemon.kill()
        back = daemon.start()
        progress.done(f"daemon killed with SIGKILL and started again: ready after {back:.1f} s")
        after_restart = edit(model, daemon, VERSIONS[-1], VERSIONS[-2], args.threads)
        after_restart["ready_after_s"] = back
        progress.done("the last edit undone: its rows came from disk")
        composed = library(model, daemon, args.threads, progress)
        agents = team(model, daemon, args.threads, progress)
    finally:
        daemon.stop()
        if args.keep:
            print(f"kept: {folder}")
        else:
            subprocess.run(["rm", "-rf", folder])

    seconds = int(time.time()) - args.started
    print()
    print("SmolLM2-135M-Instruct on llama.cpp, document: PEP 604. Time to first token in ms after each edit.")
    print(f"{'':<26} {'tokens':>6} {'exact':>6} {'moved':>6} {'comp.':>6} {'full':>8} {'prefix':>8} {'edit':>7} "
          f"{'gain':>7} {'KL':>9} {'top-1':>6}")
    for i, (name, result) in enumerate(zip(EDITS, results)):
        print(row(f"{i + 1} {name}", result))
    print(row("4 undone, after SIGKILL", after_restart))
    print("full: everything computed. prefix: exact-prefix reuse. edit: KVCommons, rows moved to where they are now.")
    noise = [result["kl_mean_exact"] for result in results + [after_restart]]
    print("KL and top-1 agreement of edit against full over 32 teacher-forced tokens. The prefix, whose rows are exact,")
    print(f"has KL {min(noise):.1e} to {max(noise):.1e}: that is the 4-bit engine's own noise.")
    # 0: the version before the edit was found, and after the restart only the disk had it.
    source = "came from disk" if after_restart["before_ms"] == 0 else "was NOT on disk and had to be computed again"
    print(f"Row 4 began with an empty memory: what it reused {source}.")
    print()
    print("Questions over the same four documents, each time in another order. Time to first token in ms.")
    print(f"{'question':<26} {'tokens':>6} {'reused':>6} {'again':>6} {'fresh':>6} {'full':>8} {'charged':>8} "
          f"{'comp.':>7} {'gain':>7} {'KL':>9} {'top-1':>6}")
    for result in composed["questions"]:
        print(question_row(result))
    print("comp.: documents from the daemon, some rows computed again (charged: their share, with looking for them), the")
    print("others corrected by what those measured. An exact prefix would reuse none of them. They were prepared once, in")
    print(f"{composed['prepared']['took_ms'] / 1e3:.0f} s. The longer the prompt, the larger the gain.")
    print()
    print(f"Four agents at {MEASURED} questions {agents['source']}, after {LEARNED_FROM} to learn from. Each reads the question and the "
          "answers before it.")
    print(f"{'agent':<14} {'mode':<9} {'why':<13} {'reused':<7} {'dense':>7} {'prefix':>7} {'TTFT':>7} {'gain':>7} "
          f"{'charged':>8} {'KL':>9} {'top-1':>6}")
    for one in agents["agents"]:
        print(agent_row(one))
    print("dense: everything computed. prefix: an exact prefix cache. TTFT: contents from the daemon, corrected for this agent")
    print("by what earlier questions taught; the text between them computed (charged: rows computed of those behind the first")
    print("text). A longer content than enough earlier ones is computed, and taught from. The first agent also waits for the")
    print(f"question's own rows, once: {agents['agents'][0]['base_ms']:.0f} ms. {seconds} s in all.")
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"edits": results, "after_restart": after_restart, "library": composed,
                       "team": agents, "seconds_total": seconds}, file, indent=2)
            file.write("\n")


if __name__ == "__main__":
    main()
