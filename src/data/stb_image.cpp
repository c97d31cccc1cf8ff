// The one place where stb_image's code is compiled: for PNG alone. (Its JPEG decoder writes past a table on bad files.)
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#define STBI_NO_STDIO
#pragma GCC diagnostic ignored "-Wunused-function"
#include <stb/stb_image.h>
