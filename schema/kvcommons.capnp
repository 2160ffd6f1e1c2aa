# The control protocol of kvcommonsd, spoken over its Unix socket. This file is a public header:
# ordinals are never reused, recorded messages of each release stay readable.
#
# Capabilities are the access control. The bootstrap gives a Daemon; its login gives a Session for the
# authenticated principal (the peer's user id, taken from the socket, never from a message); only a
# session gives a Model, only a model gives a Plan. A plan is a lease: while its capability lives, the
# rows its spans point to keep their bytes and their place. A client that dies drops everything.
#
# Bulk bytes never travel here: they lie in shared memory, whose descriptors are passed along.
# Failures: every result that can fail carries `error`; an absent (null) error means ok.

@0xb3f1c0a2d4e5968f;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("kvcommons::rpc");

const protocolVersion :UInt32 = 1;

struct Error {
  code @0 :UInt8;      # base/status.h Code: the caller's next move; never 0
  message @1 :Text;    # names field, value and limit
}

struct Hash128 { low @0 :UInt64; high @1 :UInt64; }   # little-endian halves of 16 bytes

interface Daemon {
  # Begins a session. `protocolVersion` is the client's; another one than the daemon's is refused with
  # kUnsupported, and both versions in the message. `client` is a name for logs (<= 128 bytes).
  login @0 (protocolVersion :UInt32, client :Text) -> (error :Error, session :Session, info :DaemonInfo);
}

struct DaemonInfo {
  protocolVersion @0 :UInt32;
  version @1 :Text;            # of the program
  bootId @2 :Hash128;          # random, made at start: another one means everything held only is gone
  tenant @3 :Text;             # who the daemon takes the caller for: "uid:1000"
  quotaBytes @4 :UInt64;
  startedUs @5 :Int64;         # since 1970
  durable @6 :Bool;            # a disk tier is there
}

interface Session {
  # Opens a model for planning and uploads. Profiles with equal fingerprints share blocks.
  openModel @0 (profile :ModelProfile, gate :GateReport) -> (error :Error, model :Model, fingerprint :Hash128);
  # The slab's descriptor (capability's fd) for mapping read-only, and its size.
  slab @1 (slabId :UInt32) -> (error :Error, memory :Memory, bytes :UInt64);
  # Staging memory for this session's uploads: writable by the client, copied out of by the daemon. Size is
  # granted, at most asked for. A second call replaces the first.
  staging @2 (bytes :UInt64) -> (error :Error, memory :Memory, bytes :UInt64);
  ping @3 () -> ();                                     # an empty call: the control bound of `bench`
  stats @4 () -> (error :Error, json :Text);            # everything counted, one JSON object
  list @5 (limit :UInt32) -> (error :Error, blocks :List(BlockInfo), documents :List(DocumentInfo));
  remove @6 (key :Text) -> (error :Error, removed :Bool);  # 32 hex digits: a block or a document, own tenant only
  flush @7 () -> (error :Error);                        # everything held becomes durable
  verify @8 () -> (error :Error, checked :UInt64, bad :UInt64, bytes :UInt64);
  # Library documents of the tenant, of all models and prefaces; `remove` takes their keys, too.
  listLibrary @9 (limit :UInt32) -> (error :Error, documents :List(LibraryInfo));
  # As Model.resetQuality, without opening the model: its fingerprint as `stats` spells it, 32 hex digits.
  resetQuality @10 (fingerprint :Text, rule :Text) -> (error :Error, wasKnown :Bool);
}

interface Memory {}   # carries a file descriptor and keeps its memory alive

struct ModelProfile {   # align/model_profile.h, field by field
  name @0 :Text;
  weightsSha256 @1 :Data;      # 32 bytes
  tokenizerSha256 @2 :Data;    # 32 bytes
  adapters @3 :Text;
  numericClass @4 :Text;
  layerCount @5 :UInt32;
  kvHeadCount @6 :UInt32;
  headDim @7 :UInt32;
  rotaryDim @8 :UInt32;
  rotaryOffset @9 :UInt32;
  pairLayout @10 :UInt8;
  elementType @11 :UInt8;
  blockTokens @12 :UInt32;
  contextTokens @13 :UInt32;
  vocabularySize @14 :UInt32;
  omega @15 :List(Float32);
  omegaRefusal @16 :Text;
}

struct GateReport {     # align/gate.h
  passed @0 :Bool;
  worstKeyError @1 :Float64;
  worstValueError @2 :Float64;
  weakestControl @3 :Float64;
  reason @4 :Text;
}

struct CostModel {      # align/cost_model.h, microseconds
  prefillUsPerToken @0 :Float64;
  attentionUsPerTokenK @1 :Float64;
  placeUsPerToken @2 :Float64;
  rotateUsPerToken @3 :Float64;
  runUs @4 :Float64;
  lookupUs @5 :Float64;
  blendUsPerToken @6 :Float64 = 20;
}

struct PlanRequest {
  tokens @0 :List(Int32);           # the prompt, 1 to contextTokens
  policy @1 :UInt8;                 # align/plan.h Policy
  document @2 :Text;                # name of the document whose stored revision is the parent; empty: none
  storeTokens @3 :UInt32;           # leading tokens that the daemon may ask to be committed; 0: none
  costs @4 :CostModel;              # absent: defaults
  afterRows @5 :UInt32 = 32;        # align/plan.h EditOptions
  minRun @6 :UInt32 = 16;
  maxGeneration @7 :UInt32 = 64;
  maxStaleShare @8 :Float64 = 1.0;
  chunks @9 :List(ChunkSpan);       # policy compose: texts within the prompt; ascending, disjoint, <= 1024
  variants @10 :UInt32;             # policy compose: bit 1 << RootKind allows that variant; 0: all
  minChunkRows @11 :UInt32 = 16;    # align/plan.h ComposeOptions
  recomputeShare @12 :Float64;      # of canonical rows that will be computed again all the same, 0 to 1
}

struct ChunkSpan { begin @0 :UInt32; end @1 :UInt32; }

# A run of rows of the prompt. Reused rows name where they lie: row `firstRow` of a block of
# `blockTokens` tokens whose plane 0 begins at `offset` of slab `slabId`.
struct PlanSpan {
  begin @0 :UInt32;
  end @1 :UInt32;
  kind @2 :UInt8;                   # align/plan.h SpanKind
  delta @3 :Int32;                  # rotate keys by this
  reason @4 :Text;                  # absent: that of the span before
  slabId @5 :UInt32;
  offset @6 :UInt64;
  blockTokens @7 :UInt32;
  firstRow @8 :UInt32;
  generation @9 :UInt32;            # staleness of moved rows
  editedTokensLeft @10 :UInt32;
  minDistanceTokens @11 :UInt32;
  chunk @12 :UInt32;                # canonical rows: index into the request's chunks ...
  chunkRow @13 :UInt32;             # ... and the chunk's row that lands at `begin`
  loadingsRank @14 :UInt32;         # of the block; 0: none, or none that this daemon can read
  loadingsVersion @15 :UInt32;      # kernels/loadings_layout.h; 0: none
  loadingsOffset @16 :UInt64;       # in slab `slabId`
}

# What a composed plan uses for one chunk (I3).
struct PlanChunk {
  variant @0 :UInt8;                # base/ids.h RootKind; 0: not held, its rows are computed
  root @1 :Hash128;                 # of the prefaces
  document @2 :Text;                # name of a library document with this text; empty: none
}

# Rows that the daemon wants after the prompt has been computed: staged as one block [plane][token][row].
struct Piece {
  begin @0 :UInt32;
  end @1 :UInt32;
  storageClass @2 :UInt8;           # store/block_record.h StorageClass
}

struct PlanReply {
  spans @0 :List(PlanSpan);         # cover [0, tokens) once; last is compute
  pieces @1 :List(Piece);           # ascending
  exactRows @2 :UInt32;
  movedRows @3 :UInt32;
  computedRows @4 :UInt32;
  predictedUs @5 :Float64;
  prefillUs @6 :Float64;
  explanation @7 :Text;             # align/plan.h Explain
  parentRevision @8 :UInt64;        # what an approximate plan is based on (I3); 0: none
  tookUs @9 :Float64;               # in the daemon: lookup, plan and loads from disk
  loadedBlocks @10 :UInt32;         # blocks that came from disk for this plan
  canonicalRows @11 :UInt32;
  chunks @12 :List(PlanChunk);      # one for each of the request's
  loadedBytes @13 :UInt64;          # of loadedBlocks
  loadedUs @14 :Float64;            # of tookUs: waiting for the disk
  anchoredRows @15 :UInt32;         # of a team's slots, and of the text between where it is corrected
}

interface Model {
  plan @0 (request :PlanRequest) -> (error :Error, plan :Plan, reply :PlanReply);
  # Looks up only: how many leading tokens have an exact chain; `repeat` times, for `bench`. tookUs is the
  # median in the daemon.
  lookup @1 (tokens :List(Int32), repeat :UInt32 = 1) -> (error :Error, exactTokens :UInt32, tookUs :Float64);
  removeDocument @2 (name :Text) -> (error :Error, removed :Bool);
  # The tenant's library for this model, with the prefaces that the caller's application uses. Documents are
  # the tenant's, whatever the prefaces; canonical rows belong to their prefaces.
  openLibrary @3 (prefaces :PrefaceSet) -> (error :Error, library :Library);
  # A worker that ran full prefill beside an approximate rule tells how far they were apart. A rule that strays
  # too far is switched off for this model and tenant, until a restart or a reset. `rule`: 1 to 64 of a-z 0-9 -.
  reportQuality @4 (rule :Text, kl :Float64, top1 :Float64) -> (error :Error, quality :Quality);
  quality @5 (rule :Text) -> (error :Error, quality :Quality);
  resetQuality @6 (rule :Text) -> (error :Error);
  # The tenant's team of that name (1 to 256 bytes) for this model: agents that read the same contents. Sessions
  # that open the same name share what it learned.
  openTeam @7 (name :Text, options :TeamOptions) -> (error :Error, team :Team);
}

struct TeamOptions {
  # What a text's own rows are computed behind; they are dropped. 1 to 1024 tokens. Others make other contents.
  leadIn @0 :List(Int32);
  # Contents that a row's mean offset must be of before it corrects others; 1 to 64.
  leastDeposits @1 :UInt32 = 4;
  # Deposits are also kept one by one, 20 a slot: what correction 2 needs, in twenty times the memory.
  keepAnchors @2 :Bool;
}

# KVCOMM as a service (specs: KVCOMM §11): a content (a question, a tool's result, an
# answer) is prefilled once; every agent's prompt is assembled from it, its rows corrected by the mean of offsets that
# were measured where that agent's earlier prompts were computed exactly. The text between is computed, or, where a plan
# asks for it, corrected likewise.
#
#   putTemplate, putSegment where text is corrected, then for every call: putText or TeamCall.putAnswer for each content, plan, place and compute,
#   Plan.commit, TeamCall.deposit where the plan wants slots.
interface Team {
  # Idempotent. Another text or other slots are another version, for which nothing is learned yet.
  putTemplate @0 (template :TeamTemplate) -> (error :Error, version :Hash128);
  # A text's own rows. Held: nothing to do. Else `upload` takes them, computed behind the team's lead-in at positions
  # leadIn.size(), ...; while another client computes the same text the call waits for it.
  putText @1 (tokens :List(Int32)) -> (error :Error, content :Hash128, isHeld :Bool, upload :TeamUpload);
  plan @2 (request :TeamPlanRequest)
      -> (error :Error, plan :Plan, reply :PlanReply, team :TeamPlanInfo, call :TeamCall);
  status @3 () -> (error :Error, status :TeamStatus);
  # Rows of a template's own text, segment 1 to n, as they are where nothing stands in its slots: what correctText
  # corrects. As putText.
  putSegment @4 (version :Hash128, segment :UInt32)
      -> (error :Error, content :Hash128, isHeld :Bool, upload :TeamUpload);
}

struct TeamTemplate {
  agent @0 :Text;                   # 1 to 256 bytes
  segments @1 :List(List(Int32));   # p0 … pn, none empty: the text around the slots
  slots @2 :List(Text);             # n names, 1 to 64, each once
}

struct TeamContent {
  tokens @0 :List(Int32);
  answer @1 :Hash128;               # of TeamCall.putAnswer; absent: a text of putText
}

struct TeamPlanRequest {
  version @0 :Hash128;              # of putTemplate
  contents @1 :List(TeamContent);   # one a slot
  correction @2 :UInt8 = 1;         # of slots' rows: 0 none (turned to their place), 1 their mean offset,
                                    # 2 earlier contents' offsets by nearness, where the gate lets them,
                                    # 3 the mean offset, each row's as far as it is more than chance
  firstRows @3 :UInt32;             # of every content, that are computed all the same; <= 1024
  exact @4 :Bool;                   # reuse nothing but the exact chain, and learn nothing
  storeTokens @5 :UInt32;           # as in PlanRequest; deposits need the whole prompt
  costs @6 :CostModel;              # absent: defaults
  minRun @7 :UInt32 = 16;           # shorter reused runs are computed
  gamma @8 :Float64 = 0.3;          # of the gate, which correction 2 asks; 0 to 1: all that are long enough
  correctText @9 :Bool;             # the text between slots, too, by corrections 0, 1 and 3; else it is computed
}

struct TeamPlanInfo {
  reuses @0 :Bool;                  # slots' rows are corrected ones; false: the exact chain, the rest computed
  reason @1 :Text;                  # corrected, asked_exact, few_deposits, few_long, spread, pool_bound,
                                    # missing_base, not_worth_it, no_room, cannot_move, held
  epoch @2 :UInt64;                 # of what was used: equal requests of equal epochs give equal bytes
  slots @3 :List(TeamSlot);
  blendUs @4 :Float64;              # in the daemon, of tookUs
  gateUs @5 :Float64;               # the same
  weightsUs @6 :Float64;            # the same
  texts @7 :List(TeamSlot);         # with correctText: of the text behind each slot. Wanted texts keep contents from
                                    # being reused until they are learned; without own rows or room text is computed
}

struct TeamSlot {
  reason @0 :Text;                  # corrected, few_deposits, few_long, spread, pool_bound, missing_base,
                                    # empty, held, not_worth_it, asked_exact, cannot_move
  coveredRows @1 :UInt32;           # of the content, from the first on, that the mean covers
  deposits @2 :UInt32;              # contents that the mean is of, or anchors that correct
  wanted @3 :Bool;                  # TeamCall.deposit will learn from it
  entropyBits @4 :Float64;          # of the gate, where it was asked
}

# One planned call of an agent; may outlive its plan.
interface TeamCall {
  # Learns from the slots and texts that the plan wanted, from the exact rows of this prompt that the store holds by now. Once.
  deposit @0 () -> (error :Error, slots :List(TeamDeposit));
  # The rows of what the model answered to this prompt, as they lie behind it.
  putAnswer @1 (tokens :List(Int32)) -> (error :Error, content :Hash128, isHeld :Bool, upload :TeamUpload);
}

struct TeamDeposit {
  slot @0 :UInt32;
  outcome @1 :Text;                 # learned, known, missing_base, rows_gone, too_long, pool_bound, not_finite,
                                    # failed
  message @2 :Text;                 # for people, where nothing was learned
  ofText @3 :Bool;                  # of the text behind that slot
}

# A content's own rows, in blocks as Work.commit takes them, keys as they were computed. Unfinished it leaves nothing.
interface TeamUpload {
  commit @0 (blocks :List(WorkBlock), ack :UInt8, finish :Bool) -> (error :Error, stored :UInt32);
}

struct TeamStatus {
  means @0 :List(TeamMean);         # of this team
  bytes @1 :UInt64;                 # of all teams of the tenant
  limitBytes @2 :UInt64;            # of those
  plans @3 :UInt64;                 # of this team while somebody has it open, and of those that reused contents
  reused @4 :UInt64;
  anchors @5 :UInt64;               # of all teams of the tenant
  anchorBytes @6 :UInt64;           # of bytes
}

struct TeamMean {
  agent @0 :Text;
  slot @1 :Text;
  ofAnswers @2 :Bool;
  deposits @3 :UInt32;
  rows @4 :UInt32;
  bytes @5 :UInt64;
  uses @6 :UInt64;                  # since the daemon started
  ofCorrected @7 :UInt32;           # deposits of answers whose producers ran on corrected rows themselves
  ofPrompt @8 :Bool;                # of the template's text behind the slot
}

struct Quality {
  samples @0 :UInt32;               # in the window of the last 64
  meanKl @1 :Float64;               # of the window, nats
  meanTop1 @2 :Float64;             # of the window, 0 to 1
  enabled @3 :Bool;
  reason @4 :Text;                  # why not enabled
}

# What canonical rows are made behind. A preface is the system prompt and some passages.
struct PrefaceSet {
  sinkTokens @0 :List(Int32);
  systemTokens @1 :List(Int32);
  neutral @2 :List(List(Int32));    # passages of public text; >= prefaces * passagesPerPreface
  prefaces @3 :UInt32 = 8;          # D, of variants mean and near; 1 to 64
  passagesPerPreface @4 :UInt32 = 3;  # 1 to 16
  prefaceTokens @5 :UInt32 = 512;   # the most of one passage; documents are cut to it, longer passages refused
}

interface Library {
  # Stores a text. An empty name: named by its own text. Equal tokens under a name that is there only replace
  # `related` (names of documents it is used together with, <= 32); other tokens replace the document.
  put @0 (name :Text, tokens :List(Int32), related :List(Text)) -> (error :Error, document :LibraryDocument, isNew :Bool);
  list @1 (limit :UInt32 = 1000) -> (error :Error, documents :List(LibraryDocument));
  get @2 (name :Text) -> (error :Error, found :Bool, document :LibraryDocument, tokens :List(Int32));
  remove @3 (name :Text) -> (error :Error, removed :Bool);
  # The next preparation that nobody has claimed; null: none. `variants`: bits as in PlanRequest; 0: system,
  # mean and near. Dropping the work, or dying, gives the claim back.
  nextWork @4 (variants :UInt32) -> (error :Error, work :Work, description :WorkDescription);
  status @5 () -> (error :Error, status :LibraryStatus);
  # As Model.plan, with policy compose and chunks.
  plan @6 (request :PlanRequest) -> (error :Error, plan :Plan, reply :PlanReply);
}

struct LibraryDocument {
  name @0 :Text;
  contentKey @1 :Hash128;
  tokenCount @2 :UInt32;
  createdUs @3 :Int64;
  related @4 :List(Text);           # empty in lists
  variants @5 :List(LibraryVariant);  # of this library's prefaces
}

struct LibraryVariant {
  kind @0 :UInt8;                   # base/ids.h RootKind
  root @1 :Hash128;
  prefaces @2 :UInt32;
  prepareUs @3 :UInt64;
  ready @4 :Bool;
}

struct WorkDescription {
  name @0 :Text;
  kind @1 :UInt8;                   # base/ids.h RootKind
  tokens @2 :List(Int32);
  prefaces @3 :List(List(Int32));   # run the tokens behind each; the rows to store are their mean
}

struct LibraryStatus {
  documents @0 :UInt32;
  ready @1 :List(UInt32);           # documents by RootKind, with this library's prefaces
  pending @2 :UInt32;               # preparations to do, those claimed included
  claimed @3 :UInt32;
  prepareUs @4 :UInt64;             # what the ready ones took
  tokens @5 :UInt64;
}

# One claimed preparation.
interface Work {
  # Stores canonical blocks staged by the client: block `index` of the chunk holds rows from index * blockTokens
  # on, keys rotated for positions 0, 1, ...; its planes, and behind them its loadings as
  # kernels/loadings_layout.h says. In as many calls as needed; with `finish` all blocks must be there, and the
  # variant is ready. Unfinished work leaves nothing. loadingsRank 0: no loadings.
  commit @0 (blocks :List(WorkBlock), ack :UInt8, finish :Bool, prepareUs :UInt64,
             loadingsVersion :UInt32, loadingsRank :UInt32)
      -> (error :Error, stored :UInt32);
}

struct WorkBlock {
  index @0 :UInt32;
  offset @1 :UInt64;                # in the session's staging memory
}

struct StagedPiece {
  begin @0 :UInt32;                 # of a Piece of the plan's reply
  offset @1 :UInt64;                # in the session's staging memory
}

interface Plan {
  # True while the lease holds: a reader asks after its copy.
  check @0 () -> (held :Bool);
  # Commits staged pieces of this plan (any subset, each at most once). The daemon copies out of staging while
  # it checksums, so staging may be reused as soon as this returns. With `finish`, the document named in the
  # request gets a new revision made of the plan's reused rows and all pieces committed so far.
  # ack: 0 held, 1 durable (store/store.h Ack).
  commit @1 (pieces :List(StagedPiece), ack :UInt8, finish :Bool)
      -> (error :Error, stored :UInt32, present :UInt32, durable :UInt32, revision :UInt64, tookUs :Float64);
}

struct BlockInfo {
  key @0 :Text;                     # 32 hex digits
  storageClass @1 :UInt8;
  tokens @2 :UInt32;
  origin @3 :Int32;
  bytes @4 :UInt64;
  inMemory @5 :Bool;
  onDisk @6 :Bool;
  pins @7 :UInt32;
  createdUs @8 :Int64;
}

struct DocumentInfo {
  key @0 :Text;
  name @1 :Text;
  revision @2 :UInt64;
  tokens @3 :UInt32;
  createdUs @4 :Int64;
}

struct LibraryInfo {
  key @0 :Text;                     # 32 hex digits
  fingerprint @1 :Hash128;          # of the model
  document @2 :LibraryDocument;     # with the variants of all prefaces
}
