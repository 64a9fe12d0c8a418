/* A host that is all there is to one: it calls a tokenizer through its tables, with every input and output in a block of
 * memory of its own and of its very size, so that a sanitizer sees each byte that is touched beyond.
 *
 *   driver ID CONFIG T H W */
#include <musiva/tokenizer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* An output; its sides last as long as its elements. */
typedef struct {
  musiva_tensor tensor;
  int64_t sides[8];
} block;

typedef struct {
  block *output;
  char *text;
  int failed;
} state;

static size_t bytes(const musiva_tensor *tensor) {
  size_t count = tensor->dtype.bits / 8;
  for (int i = 0; i < tensor->ndim; i++) count *= (size_t)tensor->shape[i];
  return count;
}

static block *make(musiva_dtype dtype, int32_t ndim, const int64_t *shape) {
  block *made = calloc(1, sizeof *made);
  memcpy(made->sides, shape, (size_t)ndim * sizeof *shape);
  made->tensor.device.device_type = MUSIVA_DEVICE_CPU;
  made->tensor.ndim = ndim;
  made->tensor.dtype = dtype;
  made->tensor.shape = made->sides;
  made->tensor.data = calloc(1, bytes(&made->tensor));
  return made;
}

static void drop(block *made) {
  if (made) free(made->tensor.data);
  free(made);
}

static musiva_status output(const musiva_call *call, uint32_t index, musiva_dtype dtype, int32_t ndim,
                            const int64_t *shape, musiva_tensor **out) {
  state *now = call->host_data;
  if (index != 0 || now->output || ndim < 1 || ndim > 8) return MUSIVA_INVALID_INPUT;
  now->output = make(dtype, ndim, shape);
  *out = &now->output->tensor;
  return MUSIVA_OK;
}

static musiva_status text(const musiva_call *call, uint32_t index, musiva_str said) {
  state *now = call->host_data;
  if (index != 0) return MUSIVA_INVALID_INPUT;
  free(now->text);
  now->text = calloc(1, said.len + 1);
  memcpy(now->text, said.ptr, said.len);
  return MUSIVA_OK;
}

static void fail(const musiva_call *call, musiva_str message) {
  ((state *)call->host_data)->failed = 1;
  fprintf(stderr, "%.*s\n", (int)message.len, message.ptr);
}

static int32_t cancelled(const musiva_call *call) {
  (void)call;
  return 0;
}

static void write_log(const musiva_host *host, int32_t level, musiva_str message) {
  (void)host, (void)level, (void)message;
}

static const void *get_extension(const musiva_host *host, musiva_str id) {
  (void)host, (void)id;
  return NULL;
}

static state now;
static musiva_call call = {sizeof call, &now, 0, output, text, fail, cancelled};

/* What a function gave, or the end. */
static block *given(const char *function, musiva_status status) {
  if (status != MUSIVA_OK || now.failed) {
    fprintf(stderr, "%s: status %d\n", function, (int)status);
    exit(1);
  }
  block *made = now.output;
  now.output = NULL;
  return made;
}

static void refused(const char *function, musiva_status status) {
  if (status == MUSIVA_OK || !now.failed) {
    fprintf(stderr, "%s: it should have been refused\n", function);
    exit(1);
  }
  now.failed = 0;
  drop(now.output);
  now.output = NULL;
}

/* Rows `from .. to` of a tensor, in a block of their own. */
static block *part(const block *whole, int64_t from, int64_t to) {
  int64_t sides[8];
  memcpy(sides, whole->sides, sizeof sides);
  size_t row = bytes(&whole->tensor) / (size_t)sides[0];
  sides[0] = to - from;
  block *made = make(whole->tensor.dtype, whole->tensor.ndim, sides);
  memcpy(made->tensor.data, (char *)whole->tensor.data + (size_t)from * row, bytes(&made->tensor));
  return made;
}

static musiva_str string(const char *text) {
  musiva_str lent = {text, strlen(text)};
  return lent;
}

/* One instance, from its making to its end. */
static void use(char **words) {
  const musiva_host host = {sizeof host, NULL, {"driver", 6}, {"1", 1}, 1, write_log, get_extension};
  const musiva_entry *entry = &musiva_plugin_entry;
  musiva_instance *instance = NULL;
  if (entry->config_schema) given("config_schema", entry->config_schema(&call, string(words[1])));
  given("create", entry->create(&host, &call, string(words[1]), string(words[2]), &instance));
  const musiva_tokenizer_1 *table = entry->get_interface(instance, string(MUSIVA_TOKENIZER));
  const musiva_tokenizer_streaming_1 *stream = entry->get_interface(instance, string(MUSIVA_TOKENIZER_STREAMING));
  given("describe", table->describe(instance, &call));

  int64_t sides[4] = {atoi(words[3]), atoi(words[4]), atoi(words[5]), 3}, grid[3];
  musiva_dtype u8 = {MUSIVA_DTYPE_UINT, 8, 1};
  block *media = make(u8, 4, sides);
  for (size_t i = 0; i < bytes(&media->tensor); i++) ((uint8_t *)media->tensor.data)[i] = (uint8_t)(i * 7 + i / 50);
  given("shape", table->shape(instance, &call, 4, sides, grid));
  block *tokens = NULL;
  for (int round = 0; round < 3; round++) {
    drop(tokens);
    tokens = given("encode", table->encode(instance, &call, &media->tensor));
    drop(given("decode", table->decode(instance, &call, &tokens->tensor)));
  }

  int64_t odd[4] = {sides[0], sides[1] + 1, sides[2] + 1, 3};
  if (table->shape(instance, &call, 4, odd, grid) != MUSIVA_OK) {
    refused("shape", MUSIVA_INVALID_INPUT);
    block *wrong = make(u8, 4, odd);
    refused("encode", table->encode(instance, &call, &wrong->tensor));
    drop(wrong);
  }
  /* A whole stream of single steps, and one that is broken off. */
  for (int round = 0; stream && round < 3; round++) {
    given("reset", stream->reset(instance, &call));
    for (int64_t t = 0; t < sides[0] - (round == 1); t++) {
      block *piece = part(media, t, t + 1);
      drop(given("encode_step", stream->encode_step(instance, &call, &piece->tensor, t + 1 == sides[0])));
      drop(piece);
    }
    for (int64_t t = 0; t < tokens->sides[0] - (round == 1); t++) {
      block *piece = part(tokens, t, t + 1);
      drop(given("decode_step", stream->decode_step(instance, &call, &piece->tensor, t + 1 == tokens->sides[0])));
      drop(piece);
    }
  }
  drop(tokens);
  drop(media);
  entry->destroy(instance);
}

int main(int count, char **words) {
  if (count != 6) return 2;
  for (int round = 0; round < 8; round++) use(words);
  free(now.text);
  return 0;
}
