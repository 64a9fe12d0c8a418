/* Brightness in 16 steps: one code a pixel.
 *
 *   cc -std=c99 -O2 -fPIC -shared -I include THIS.c -o libTHIS.so */
#include <musiva/tokenizer.h>
#include <stdlib.h>
#include <string.h>

#define TEXT(literal) {literal, sizeof(literal) - 1}
#define LEVELS 16

static musiva_status fail(const musiva_call *call, musiva_status status, const char *words) {
  musiva_str message = {words, strlen(words)};
  call->fail(call, message);
  return status;
}

static musiva_status describe(const musiva_instance *self, const musiva_call *call) {
  static const musiva_str json = TEXT(
      "{\"modality\": \"video\", \"tokens\": {\"kind\": \"codes\", \"entries\": 16}, "
      "\"strides\": [1, 1, 1], \"causal\": true}");
  (void)self;
  return call->text(call, 0, json);
}

static musiva_status shape(const musiva_instance *self, const musiva_call *call, int32_t ndim, const int64_t *sides,
                           int64_t grid[3]) {
  (void)self;
  if (ndim != 4 || sides[3] != 3) return fail(call, MUSIVA_INVALID_INPUT, "it reads clips");
  memcpy(grid, sides, 3 * sizeof *grid);
  return MUSIVA_OK;
}

static musiva_status encode(musiva_instance *self, const musiva_call *call, const musiva_tensor *media) {
  (void)self;
  musiva_tensor *tokens;
  musiva_dtype i64 = {MUSIVA_DTYPE_INT, 64, 1};
  musiva_status status = call->output(call, 0, i64, 3, media->shape, &tokens);
  if (status != MUSIVA_OK) return status;
  const uint8_t *pixel = (const uint8_t *)media->data + media->byte_offset;
  int64_t *code = tokens->data, count = media->shape[0] * media->shape[1] * media->shape[2];
  for (int64_t i = 0; i < count; i++, pixel += 3) code[i] = (pixel[0] + pixel[1] + pixel[2]) * LEVELS / 766;
  return MUSIVA_OK;
}

static musiva_status decode(musiva_instance *self, const musiva_call *call, const musiva_tensor *tokens) {
  (void)self;
  int64_t sides[4] = {tokens->shape[0], tokens->shape[1], tokens->shape[2], 3};
  musiva_tensor *media;
  musiva_dtype u8 = {MUSIVA_DTYPE_UINT, 8, 1};
  musiva_status status = call->output(call, 0, u8, 4, sides, &media);
  if (status != MUSIVA_OK) return status;
  const int64_t *code = (const int64_t *)(const void *)((const char *)tokens->data + tokens->byte_offset);
  uint8_t *pixel = media->data;
  for (int64_t i = 0; i < sides[0] * sides[1] * sides[2]; i++, pixel += 3)
    memset(pixel, (int)(code[i] * 255 / (LEVELS - 1)), 3);
  return MUSIVA_OK;
}

static musiva_status create(const musiva_host *host, const musiva_call *call, musiva_str id, musiva_str config,
                            musiva_instance **out) {
  (void)host, (void)id, (void)config;
  *out = malloc(1); /* your state */
  return *out == NULL ? fail(call, MUSIVA_OUT_OF_MEMORY, "there is no memory left") : MUSIVA_OK;
}

static void destroy(musiva_instance *self) { free(self); }

static const void *get_interface(const musiva_instance *self, musiva_str id) {
  static const musiva_tokenizer_1 tokenizer = {sizeof tokenizer, describe, shape, encode, decode};
  static const char name[] = MUSIVA_TOKENIZER;
  (void)self;
  return id.len == sizeof name - 1 && memcmp(id.ptr, name, id.len) == 0 ? &tokenizer : NULL;
}

static const musiva_descriptor descriptor = {
    sizeof descriptor, TEXT("org.example.new"), TEXT("tokenizer"), TEXT("0.1.0"),
    TEXT("brightness in 16 steps"), TEXT(""), 0,
};
static const musiva_descriptor *const descriptors[] = {&descriptor};

const musiva_entry musiva_plugin_entry = {
    sizeof musiva_plugin_entry, MUSIVA_ABI_MAJOR, MUSIVA_ABI_MINOR, 1, 0, descriptors,
    NULL, create, destroy, get_interface,
};
