// The only place that compiles stb_image, for PNG only. (Its JPEG decoder writes out of bounds on damaged files.)
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb/stb_image.h>
