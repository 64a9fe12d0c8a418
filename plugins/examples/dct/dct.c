/* A video tokenizer by the discrete cosine transform, in one file of C99.
 *
 *   cc -std=c99 -O2 -fPIC -shared -I ../../include dct.c -o libdct.so -lm
 *
 * A clip is cut into boxes of frames x block x block pixels, the first frame alone into boxes of its own: 1 + n * frames
 * frames become 1 + n rows of tokens in time. The colours of a box are turned into brightness and two differences of
 * colours, each is transformed, and of each the lowest frequencies are kept. A token is the vector of them. Nothing is
 * learned; what is lost is what lies above the frequencies that are kept. */
#include <math.h>
#include <musiva/tokenizer.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT(literal) {literal, sizeof(literal) - 1}

/* A frequency: how many half waves fit into a box, in time, down and across. */
typedef struct {
  int t, y, x;
} frequency;

typedef struct {
  int frames, block, luma, chroma; /* the configuration */
  int channels;                    /* luma + 2 * chroma */
  float *basis;                    /* [luma or chroma, whichever is more][frames * block * block] */
  uint8_t *pending;                /* frames of a stream that do not fill a box yet */
  int64_t pending_frames, height, width;
  bool encoding, decoding;         /* whether a stream's first frame has gone by */
} dct;

static musiva_status fail(const musiva_call *call, musiva_status status, const char *format, ...) {
  char text[256];
  va_list values;
  va_start(values, format);
  int length = vsnprintf(text, sizeof text, format, values);
  va_end(values);
  musiva_str message = {text, length < 0 ? 0 : (size_t)length < sizeof text ? (size_t)length : sizeof text - 1};
  call->fail(call, message);
  return status;
}

static bool is(musiva_str text, const char *other) {
  return text.len == strlen(other) && memcmp(text.ptr, other, text.len) == 0;
}

/* The number after "key": in a flat JSON object; the host has checked the object against the schema. */
static int number(musiva_str json, const char *key, int otherwise) {
  size_t length = strlen(key);
  for (size_t i = 0; i + length + 2 < json.len; i++) {
    if (json.ptr[i] == '"' && memcmp(json.ptr + i + 1, key, length) == 0 && json.ptr[i + 1 + length] == '"') {
      size_t at = i + length + 2;
      while (at < json.len && (json.ptr[at] == ':' || json.ptr[at] == ' ')) at++;
      int value = 0;
      size_t digits = at;
      while (at < json.len && json.ptr[at] >= '0' && json.ptr[at] <= '9' && value < 100000)
        value = value * 10 + (json.ptr[at++] - '0');
      return at > digits ? value : -1;
    }
  }
  return otherwise;
}

static int by_frequency(const void *a, const void *b) {
  const frequency *f = a, *g = b;
  int d = (f->t * f->t + f->y * f->y + f->x * f->x) - (g->t * g->t + g->y * g->y + g->x * g->x);
  if (d != 0) return d;
  if (f->t != g->t) return f->t - g->t;
  return f->y != g->y ? f->y - g->y : f->x - g->x;
}

/* The k-th wave of n samples at sample i, of unit length. */
static double wave(int n, int k, int i) {
  double scale = sqrt((k == 0 ? 1.0 : 2.0) / n);
  return scale * cos(3.14159265358979323846 * (i + 0.5) * k / n);
}

static bool make_basis(dct *self) {
  int t = self->frames, b = self->block, size = t * b * b;
  int kept = self->luma > self->chroma ? self->luma : self->chroma;
  frequency *all = malloc((size_t)size * sizeof *all);
  self->basis = malloc((size_t)kept * (size_t)size * sizeof *self->basis);
  if (all == NULL || self->basis == NULL) {
    free(all);
    return false;
  }
  for (int i = 0; i < size; i++) {
    frequency one = {i / (b * b), i / b % b, i % b};
    all[i] = one;
  }
  qsort(all, (size_t)size, sizeof *all, by_frequency);
  for (int k = 0; k < kept; k++)
    for (int i = 0; i < size; i++)
      self->basis[k * size + i] = (float)(wave(t, all[k].t, i / (b * b)) * wave(b, all[k].y, i / b % b) *
                                          wave(b, all[k].x, i % b));
  free(all);
  return true;
}

/* What a coefficient is multiplied by, so that most lie between -1 and 1. */
static float gain(const dct *self, int k) {
  double mean = 1.0 / sqrt((double)self->frames * self->block * self->block);
  return (float)(mean * (k == 0 ? 1.0 : 4.0));
}

/* Red, green and blue in [-1, 1] to brightness and two differences; its own inverse is its transpose. */
static const double COLOURS[3][3] = {
    {0.57735026918962576, 0.57735026918962576, 0.57735026918962576},
    {0.70710678118654752, 0.0, -0.70710678118654752},
    {0.40824829046386302, -0.81649658092772603, 0.40824829046386302},
};

/* A row of tokens [h, w, channels] from `frames` frames [height, width, 3]. */
static void encode_row(const dct *self, const uint8_t *const *frames, int64_t height, int64_t width, float *out) {
  int b = self->block, size = self->frames * b * b;
  for (int64_t y = 0; y < height / b; y++)
    for (int64_t x = 0; x < width / b; x++)
      for (int colour = 0; colour < 3; colour++) {
        int kept = colour == 0 ? self->luma : self->chroma;
        for (int k = 0; k < kept; k++) {
          double sum = 0.0;
          const float *basis = self->basis + k * size;
          for (int i = 0; i < size; i++) {
            const uint8_t *pixel =
                frames[i / (b * b)] + 3 * ((y * b + i / b % b) * width + x * b + i % b);
            double value = 0.0;
            for (int c = 0; c < 3; c++) value += COLOURS[colour][c] * (pixel[c] / 127.5 - 1.0);
            sum += basis[i] * value;
          }
          *out++ = (float)(sum * gain(self, k));
        }
      }
}

/* The first `count` frames of a row of tokens. */
static void decode_row(const dct *self, const float *tokens, int64_t height, int64_t width, int count, uint8_t *out) {
  int b = self->block, size = self->frames * b * b;
  for (int64_t y = 0; y < height / b; y++)
    for (int64_t x = 0; x < width / b; x++, tokens += self->channels)
      for (int i = 0; i < count * b * b; i++) {
        uint8_t *pixel = out + 3 * (((i / (b * b)) * height + y * b + i / b % b) * width + x * b + i % b);
        double values[3];
        const float *coefficient = tokens;
        for (int colour = 0; colour < 3; colour++) {
          int kept = colour == 0 ? self->luma : self->chroma;
          values[colour] = 0.0;
          for (int k = 0; k < kept; k++)
            values[colour] += (double)*coefficient++ * self->basis[k * size + i] / gain(self, k);
        }
        for (int c = 0; c < 3; c++) {
          double value = 0.0;
          for (int colour = 0; colour < 3; colour++) value += COLOURS[colour][c] * values[colour];
          value = floor((value + 1.0) * 127.5 + 0.5);
          pixel[c] = (uint8_t)(value < 0.0 ? 0.0 : value > 255.0 ? 255.0 : value);
        }
      }
}

static musiva_status describe(const musiva_instance *instance, const musiva_call *call) {
  const dct *self = (const dct *)instance;
  char text[256];
  int length = snprintf(text, sizeof text,
                        "{\"modality\": \"video\", \"tokens\": {\"kind\": \"latents\", \"channels\": %d}, "
                        "\"strides\": [%d, %d, %d], \"causal\": true}",
                        self->channels, self->frames, self->block, self->block);
  musiva_str json = {text, (size_t)length};
  return call->text(call, 0, json);
}

static musiva_status shape(const musiva_instance *instance, const musiva_call *call, int32_t ndim,
                           const int64_t *sides, int64_t grid[3]) {
  const dct *self = (const dct *)instance;
  if (ndim != 4 || sides[3] != 3) return fail(call, MUSIVA_INVALID_INPUT, "it reads clips");
  if (sides[0] < 1 || (sides[0] - 1) % self->frames != 0)
    return fail(call, MUSIVA_INVALID_INPUT, "%lld frames do not fit: it takes 1 + n * %d of them, e.g. %lld",
                (long long)sides[0], self->frames, (long long)(1 + (sides[0] - 1) / self->frames * self->frames));
  for (int i = 1; i < 3; i++)
    if (sides[i] < self->block || sides[i] % self->block != 0)
      return fail(call, MUSIVA_INVALID_INPUT, "a side of %lld pixels is no multiple of the block, %d",
                  (long long)sides[i], self->block);
  grid[0] = 1 + (sides[0] - 1) / self->frames;
  grid[1] = sides[1] / self->block;
  grid[2] = sides[2] / self->block;
  return MUSIVA_OK;
}

static const void *elements(const musiva_tensor *tensor) {
  return (const char *)tensor->data + tensor->byte_offset;
}

static musiva_status encode(musiva_instance *instance, const musiva_call *call, const musiva_tensor *media) {
  const dct *self = (const dct *)instance;
  int64_t sides[4] = {0, 0, 0, self->channels};
  musiva_status status = shape(instance, call, media->ndim, media->shape, sides);
  if (status != MUSIVA_OK) return status;
  musiva_tensor *tokens;
  musiva_dtype f32 = {MUSIVA_DTYPE_FLOAT, 32, 1};
  status = call->output(call, 0, f32, 4, sides, &tokens);
  if (status != MUSIVA_OK) return status;
  int64_t height = media->shape[1], width = media->shape[2];
  const uint8_t *pixels = elements(media);
  float *out = tokens->data;
  for (int64_t row = 0; row < sides[0]; row++) {
    if (call->cancelled(call)) return MUSIVA_CANCELLED;
    const uint8_t *frames[64];
    for (int i = 0; i < self->frames; i++)
      frames[i] = pixels + (row == 0 ? 0 : 1 + (row - 1) * self->frames + i) * height * width * 3;
    encode_row(self, frames, height, width, out + row * sides[1] * sides[2] * sides[3]);
  }
  return MUSIVA_OK;
}

/* Decodes rows of tokens; where the first of them begins the clip, it is one frame. */
static musiva_status decode_rows(const dct *self, const musiva_call *call, const musiva_tensor *tokens, bool begins) {
  if (tokens->ndim != 4 || tokens->shape[3] != self->channels)
    return fail(call, MUSIVA_INVALID_INPUT, "tokens of %d channels were expected", self->channels);
  int64_t rows = tokens->shape[0];
  int64_t sides[4] = {rows * self->frames - (begins ? self->frames - 1 : 0), tokens->shape[1] * self->block,
                      tokens->shape[2] * self->block, 3};
  musiva_tensor *media;
  musiva_dtype u8 = {MUSIVA_DTYPE_UINT, 8, 1};
  musiva_status status = call->output(call, 0, u8, 4, sides, &media);
  if (status != MUSIVA_OK) return status;
  const float *values = elements(tokens);
  uint8_t *out = media->data;
  for (int64_t row = 0; row < rows; row++) {
    if (call->cancelled(call)) return MUSIVA_CANCELLED;
    int count = begins && row == 0 ? 1 : self->frames;
    decode_row(self, values, sides[1], sides[2], count, out);
    values += tokens->shape[1] * tokens->shape[2] * self->channels;
    out += count * sides[1] * sides[2] * 3;
  }
  return MUSIVA_OK;
}

static musiva_status decode(musiva_instance *instance, const musiva_call *call, const musiva_tensor *tokens) {
  return decode_rows((const dct *)instance, call, tokens, true);
}

static musiva_status reset(musiva_instance *instance, const musiva_call *call) {
  dct *self = (dct *)instance;
  (void)call;
  free(self->pending);
  self->pending = NULL;
  self->pending_frames = 0;
  self->encoding = self->decoding = false;
  return MUSIVA_OK;
}

static musiva_status encode_step(musiva_instance *instance, const musiva_call *call, const musiva_tensor *media,
                                 int32_t last) {
  dct *self = (dct *)instance;
  if (media->ndim != 4 || media->shape[3] != 3) return fail(call, MUSIVA_INVALID_INPUT, "it reads clips");
  int64_t count = media->shape[0], height = media->shape[1], width = media->shape[2], frame = height * width * 3;
  if (height % self->block != 0 || width % self->block != 0 ||
      (self->encoding && (height != self->height || width != self->width)))
    return fail(call, MUSIVA_INVALID_INPUT, "frames of this size do not fit");
  if (self->pending == NULL) self->pending = malloc((size_t)(self->frames * frame));
  if (self->pending == NULL) return MUSIVA_OUT_OF_MEMORY;
  self->height = height;
  self->width = width;
  int64_t begins = self->encoding ? 0 : 1, waiting = self->pending_frames + count - begins;
  if (last && waiting % self->frames != 0)
    return fail(call, MUSIVA_INVALID_INPUT, "the clip ends within a box of %d frames", self->frames);
  int64_t sides[4] = {begins + waiting / self->frames, height / self->block, width / self->block, self->channels};
  float *out = NULL;
  if (sides[0] > 0) {
    musiva_tensor *tokens;
    musiva_dtype f32 = {MUSIVA_DTYPE_FLOAT, 32, 1};
    musiva_status status = call->output(call, 0, f32, 4, sides, &tokens);
    if (status != MUSIVA_OK) return status;
    out = tokens->data;
  }
  const uint8_t *next = elements(media), *frames[64];
  for (int64_t i = 0; i < count; i++, next += frame) {
    bool first = !self->encoding;
    self->encoding = true;
    if (!first) {
      memcpy(self->pending + self->pending_frames++ * frame, next, (size_t)frame);
      if (self->pending_frames < self->frames) continue;
      self->pending_frames = 0;
    }
    for (int j = 0; j < self->frames; j++) frames[j] = first ? next : self->pending + j * frame;
    encode_row(self, frames, height, width, out);
    out += sides[1] * sides[2] * sides[3];
  }
  return MUSIVA_OK;
}

static musiva_status decode_step(musiva_instance *instance, const musiva_call *call, const musiva_tensor *tokens,
                                 int32_t last) {
  dct *self = (dct *)instance;
  (void)last;
  bool begins = !self->decoding;
  self->decoding = true;
  return decode_rows(self, call, tokens, begins);
}

static musiva_status config_schema(const musiva_call *call, musiva_str id) {
  (void)id;
  static const musiva_str schema = TEXT(
      "{\"type\": \"object\", \"description\": \"The lowest frequencies of boxes of pixels.\", \"properties\": {"
      "\"frames\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 16, \"default\": 4, "
      "\"description\": \"Frames of a box; the first frame stands alone.\"},"
      "\"block\": {\"type\": \"integer\", \"minimum\": 2, \"maximum\": 32, \"default\": 8, "
      "\"description\": \"Height and width of a box.\"},"
      "\"luma\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 256, \"default\": 24, "
      "\"description\": \"Frequencies kept of the brightness.\"},"
      "\"chroma\": {\"type\": \"integer\", \"minimum\": 1, \"maximum\": 256, \"default\": 8, "
      "\"description\": \"Frequencies kept of each of the two differences of colours.\"}}}");
  return call->text(call, 0, schema);
}

static musiva_status create(const musiva_host *host, const musiva_call *call, musiva_str id, musiva_str config,
                            musiva_instance **out) {
  (void)host;
  if (!is(id, "org.musiva.dct")) return fail(call, MUSIVA_UNSUPPORTED, "this library has no such plugin");
  dct one = {0};
  one.frames = number(config, "frames", 4);
  one.block = number(config, "block", 8);
  one.luma = number(config, "luma", 24);
  one.chroma = number(config, "chroma", 8);
  one.channels = one.luma + 2 * one.chroma;
  if (one.frames < 1 || one.frames > 16 || one.block < 2 || one.block > 32)
    return fail(call, MUSIVA_INVALID_CONFIG, "boxes of %d frames and %d pixels are not made", one.frames, one.block);
  int size = one.frames * one.block * one.block;
  if (one.luma < 1 || one.luma > size || one.chroma < 1 || one.chroma > size)
    return fail(call, MUSIVA_INVALID_CONFIG, "a box of %d pixels has no %d frequencies", size,
                one.luma > one.chroma ? one.luma : one.chroma);
  dct *self = malloc(sizeof *self);
  if (self == NULL) return MUSIVA_OUT_OF_MEMORY;
  *self = one;
  if (!make_basis(self)) {
    free(self->basis);
    free(self);
    return MUSIVA_OUT_OF_MEMORY;
  }
  *out = (musiva_instance *)self;
  return MUSIVA_OK;
}

static void destroy(musiva_instance *instance) {
  dct *self = (dct *)instance;
  free(self->pending);
  free(self->basis);
  free(self);
}

static const void *get_interface(const musiva_instance *instance, musiva_str id) {
  static const musiva_tokenizer_1 tokenizer = {sizeof tokenizer, describe, shape, encode, decode};
  static const musiva_tokenizer_streaming_1 streaming = {sizeof streaming, reset, encode_step, decode_step};
  (void)instance;
  if (is(id, MUSIVA_TOKENIZER)) return &tokenizer;
  if (is(id, MUSIVA_TOKENIZER_STREAMING)) return &streaming;
  return NULL;
}

static const musiva_descriptor descriptor = {
    sizeof descriptor,     TEXT("org.musiva.dct"), TEXT("tokenizer"), TEXT("0.1.0"),
    TEXT("boxes of pixels by their lowest frequencies"), TEXT("MIT OR Apache-2.0"), 0,
};
static const musiva_descriptor *const descriptors[] = {&descriptor};

const musiva_entry musiva_plugin_entry = {
    sizeof musiva_plugin_entry, MUSIVA_ABI_MAJOR, MUSIVA_ABI_MINOR, 1, 0, descriptors,
    config_schema, create, destroy, get_interface,
};
