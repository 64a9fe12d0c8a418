/* A small tokenizer that is in order, and with one -D after the other is not: each name below is a way to be wrong. */
#define _GNU_SOURCE
#include <locale.h>
#include <musiva/tokenizer.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef __x86_64__
#include <xmmintrin.h>
#endif

#define TEXT(literal) {literal, sizeof(literal) - 1}

#ifndef ID
#define ID "org.example.malformed"
#endif
#ifndef KIND
#define KIND "tokenizer"
#endif
#ifndef VERSION
#define VERSION "1.0.0"
#endif
#ifndef SUMMARY
#define SUMMARY "two bits a pixel"
#endif
#ifndef SCHEMA
#define SCHEMA "{\"type\": \"object\"}"
#endif
#ifndef DESCRIBE
#define DESCRIBE                                                                                           \
  "{\"modality\": \"video\", \"tokens\": {\"kind\": \"codes\", \"entries\": 4, \"bits\": 2}, "             \
  "\"strides\": [1, 1, 1], \"causal\": true}"
#endif

#ifdef OVERFLOW
static volatile int depth;
static int overflow(int i) {
  volatile char frame[4096];
  frame[i & 4095] = (char)i;
  depth = i;
  return overflow(i + 1) + frame[0];
}
#endif

#ifdef UNDEFINED_FUNCTION
extern void there_is_no_such_function(void);
#endif

static void say(const musiva_call *call, const char *words) {
  musiva_str message = {words, strlen(words)};
  call->fail(call, message);
}

#if defined(CRASH_AT_LOAD) || defined(ABORT_AT_LOAD) || defined(EXIT_AT_LOAD) || defined(HANG_AT_LOAD)
__attribute__((constructor)) static void at_load(void) {
#if defined(CRASH_AT_LOAD)
  *(volatile int *)16 = 1;
#elif defined(ABORT_AT_LOAD)
  abort();
#elif defined(EXIT_AT_LOAD)
  _exit(0);
#else
  for (;;) sleep(1);
#endif
}
#endif

static musiva_status describe(const musiva_instance *self, const musiva_call *call) {
  (void)self;
#if defined(DESCRIBE_NOTHING)
  (void)call;
  return MUSIVA_OK;
#else
  static const musiva_str json = TEXT(DESCRIBE);
#ifdef TEXT_INDEX
  return call->text(call, TEXT_INDEX, json);
#else
  return call->text(call, 0, json);
#endif
#endif
}

static musiva_status shape(const musiva_instance *self, const musiva_call *call, int32_t ndim, const int64_t *sides,
                           int64_t grid[3]) {
  (void)self;
#ifdef REFUSES_ALL
  say(call, "it takes no media at all");
  return MUSIVA_INVALID_INPUT;
#endif
  if (ndim != 4) {
    say(call, "it reads clips");
    return MUSIVA_INVALID_INPUT;
  }
#ifdef GRID
  static const int64_t made[3] = GRID;
  memcpy(grid, made, sizeof made);
  (void)sides;
#else
  memcpy(grid, sides, 3 * sizeof *grid);
#endif
#ifdef GRID_BY_SIZE
  grid[0] = sides[1] > 4 ? 2 : 1;
#endif
  return MUSIVA_OK;
}

#ifdef OUTPUT_FROM_A_THREAD
struct work {
  const musiva_call *call;
  const int64_t *grid;
  musiva_tensor *out;
  musiva_status status;
};
static void *allocate(void *argument) {
  struct work *work = argument;
  musiva_dtype i64 = {MUSIVA_DTYPE_INT, 64, 1};
  work->status = work->call->output(work->call, 0, i64, 3, work->grid, &work->out);
  return NULL;
}
#endif

static musiva_status encode(musiva_instance *self, const musiva_call *call, const musiva_tensor *media) {
  (void)self;
#ifdef ENCODE_FATE
  ENCODE_FATE;
#endif
#ifdef STATUS
  return STATUS;
#endif
#ifdef FAIL_NOT_UTF8
  say(call, "bad \xff\xfe\n\x1b[31m words");
  return MUSIVA_INTERNAL;
#endif
#ifdef HUGE_MESSAGE
  static char words[100000];
  memset(words, 'a', sizeof words);
  musiva_str message = {words, sizeof words};
  call->fail(call, message);
  return MUSIVA_INTERNAL;
#endif
#ifdef OUTPUT_MISSING
  return MUSIVA_OK;
#endif
  int64_t grid[4] = {media->shape[0], media->shape[1], media->shape[2], 1};
  musiva_tensor *tokens = NULL;
#ifdef LATENTS
  musiva_dtype dtype = {MUSIVA_DTYPE_FLOAT, 32, 1};
  int32_t rank = 4;
#else
  musiva_dtype dtype = {MUSIVA_DTYPE_INT, 64, 1};
  int32_t rank = 3;
#endif
#ifdef OUTPUT_RANK
  rank = OUTPUT_RANK;
#endif
#ifdef OUTPUT_BITS
  dtype.bits = OUTPUT_BITS;
#endif
#ifdef OUTPUT_CODE
  dtype.code = OUTPUT_CODE;
#endif
#ifdef OUTPUT_LANES
  dtype.lanes = OUTPUT_LANES;
#endif
#ifdef OUTPUT_SIDE
  grid[1] = OUTPUT_SIDE;
#endif
#ifndef OUTPUT_INDEX
#define OUTPUT_INDEX 0
#endif
#if defined(OUTPUT_NO_SHAPE)
  musiva_status status = call->output(call, OUTPUT_INDEX, dtype, rank, NULL, &tokens);
#elif defined(OUTPUT_NO_ROOM)
  musiva_status status = call->output(call, OUTPUT_INDEX, dtype, rank, grid, NULL);
#elif defined(OUTPUT_FROM_A_THREAD)
  struct work work = {call, grid, NULL, MUSIVA_INTERNAL};
  pthread_t thread;
  pthread_create(&thread, NULL, allocate, &work);
  pthread_join(thread, NULL);
  musiva_status status = work.status;
  tokens = work.out;
#else
  musiva_status status = call->output(call, OUTPUT_INDEX, dtype, rank, grid, &tokens);
#endif
#ifdef IGNORES_REFUSAL
  if (status != MUSIVA_OK) return MUSIVA_OK;
#endif
  if (status != MUSIVA_OK) return status;
#ifdef OUTPUT_TWICE
  status = call->output(call, OUTPUT_INDEX, dtype, rank, grid, &tokens);
  if (status != MUSIVA_OK) return status;
#endif
#ifdef LATENTS
  float *out = tokens->data;
  for (int64_t i = 0; i < grid[0] * grid[1] * grid[2]; i++) out[i] = LATENTS;
#else
  const uint8_t *pixels = (const uint8_t *)media->data + media->byte_offset;
  int64_t *out = tokens->data;
  for (int64_t i = 0; i < grid[0] * grid[1] * grid[2]; i++) {
#ifdef CODE
    out[i] = CODE;
    (void)pixels;
#else
    out[i] = pixels[3 * i] >> 6;
#endif
  }
#endif
#ifdef RANDOM_CODES
  static int64_t calls;
  out[0] = calls++ % 4;
#endif
#ifdef OK_AFTER_FAIL
  say(call, "something went wrong on the way");
#endif
#ifdef FLUSH_TO_ZERO
  _mm_setcsr(_mm_getcsr() | 0x8040);
#endif
#ifdef ROUND_DOWN
  _mm_setcsr((_mm_getcsr() & ~0x6000u) | 0x2000);
#endif
#ifdef LOCALE
  setlocale(LC_ALL, "C.UTF-8");
#endif
  return MUSIVA_OK;
}

static musiva_status decode(musiva_instance *self, const musiva_call *call, const musiva_tensor *tokens) {
  (void)self;
  int64_t sides[4] = {tokens->shape[0], tokens->shape[1], tokens->shape[2], 3};
#ifdef DECODE_SIDE
  sides[1] = DECODE_SIDE;
#endif
#ifdef DECODE_FRAMES
  sides[0] = DECODE_FRAMES;
#endif
#ifdef DECODE_CHANNELS
  sides[3] = DECODE_CHANNELS;
#endif
  musiva_tensor *media;
  musiva_dtype u8 = {MUSIVA_DTYPE_UINT, 8, 1};
  musiva_status status = call->output(call, 0, u8, 4, sides, &media);
  if (status != MUSIVA_OK) return status;
  const int64_t *codes = tokens->data;
  uint8_t *pixels = media->data;
  for (int64_t i = 0; i < tokens->shape[0] * tokens->shape[1] * tokens->shape[2] * 3; i++)
    pixels[i] = (uint8_t)(codes[i / 3] * 85);
  return MUSIVA_OK;
}

static musiva_status config_schema(const musiva_call *call, musiva_str id) {
  static const musiva_str json = TEXT(SCHEMA);
  (void)id;
#ifdef SCHEMA_FAILS
  return MUSIVA_INTERNAL;
#endif
  return call->text(call, 0, json);
}

static musiva_status create(const musiva_host *host, const musiva_call *call, musiva_str id, musiva_str config,
                            musiva_instance **out) {
  (void)host, (void)call, (void)id, (void)config;
#ifdef CREATE_FATE
  CREATE_FATE;
#endif
#ifdef UNDEFINED_FUNCTION
  there_is_no_such_function();
#endif
#ifdef CREATE_STATUS
  return CREATE_STATUS;
#endif
#ifdef CREATE_WORDS
  say(call, CREATE_WORDS);
  return MUSIVA_INVALID_CONFIG;
#endif
#ifdef CREATE_OK_AFTER_FAIL
  say(call, "it has no licence");
#endif
#ifndef CREATE_NOTHING
#ifdef LEAKS
  *out = malloc(4096);
  if (*out) memset(*out, 1, 4096);
#else
  *out = malloc(1);
#endif
#endif
  return MUSIVA_OK;
}

static void destroy(musiva_instance *self) {
#ifdef DESTROY_FATE
  DESTROY_FATE;
#endif
#ifdef LEAKS
  (void)self;
#else
  free(self);
#endif
}

#ifndef TABLE_SIZE
#define TABLE_SIZE sizeof(musiva_tokenizer_1)
#endif

static const void *get_interface(const musiva_instance *self, musiva_str id) {
#if defined(NO_ENCODE)
  static const musiva_tokenizer_1 table = {TABLE_SIZE, describe, shape, NULL, decode};
  (void)encode;
#else
  static const musiva_tokenizer_1 table = {TABLE_SIZE, describe, shape, encode, decode};
#endif
  (void)self;
#ifdef NO_INTERFACE
  return NULL;
#endif
#ifdef INTERFACE_ODD
  return (const char *)&table + 1;
#endif
  return id.len == strlen(MUSIVA_TOKENIZER) && memcmp(id.ptr, MUSIVA_TOKENIZER, id.len) == 0 ? &table : NULL;
}

#ifndef DESCRIPTOR_SIZE
#define DESCRIPTOR_SIZE sizeof(musiva_descriptor)
#endif

static const musiva_descriptor descriptor = {
#ifdef ID_LENGTH
    DESCRIPTOR_SIZE, {ID, ID_LENGTH}, TEXT(KIND), TEXT(VERSION), TEXT(SUMMARY), TEXT("MIT"), 0,
#else
    DESCRIPTOR_SIZE, TEXT(ID), TEXT(KIND), TEXT(VERSION), TEXT(SUMMARY), TEXT("MIT"), 0,
#endif
};

#if defined(NULL_DESCRIPTOR)
static const musiva_descriptor *const descriptors[] = {NULL};
#else
static const musiva_descriptor *const descriptors[] = {&descriptor, &descriptor};
#endif

#ifndef COUNT
#define COUNT 1
#endif
#ifndef MAJOR
#define MAJOR MUSIVA_ABI_MAJOR
#endif
#ifndef MINOR
#define MINOR MUSIVA_ABI_MINOR
#endif
#ifdef NULL_DESCRIPTORS
#define DESCRIPTORS NULL
#else
#define DESCRIPTORS descriptors
#endif
#ifndef CREATE
#define CREATE create
#endif
#ifndef DESTROY
#define DESTROY destroy
#endif
#ifndef GET_INTERFACE
#define GET_INTERFACE get_interface
#endif

#if defined(LONGER_STRUCTS)
/* A later minor: fields that this host does not know. */
const struct {
  musiva_entry known;
  void *later[8];
} musiva_plugin_entry_ __asm__("musiva_plugin_entry") = {
    {sizeof musiva_plugin_entry_, MAJOR, MINOR, COUNT, 0, DESCRIPTORS, config_schema, CREATE, DESTROY, GET_INTERFACE},
    {0},
};
#elif !defined(NO_SYMBOL)
#ifndef ENTRY_SIZE
#define ENTRY_SIZE sizeof(musiva_entry)
#endif
const musiva_entry musiva_plugin_entry = {
    ENTRY_SIZE, MAJOR, MINOR, COUNT, 0, DESCRIPTORS, config_schema, CREATE, DESTROY, GET_INTERFACE,
};
#endif
