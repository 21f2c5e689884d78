// Private to io/: does a file hold a model's weights? Such files do not travel beside an edited checkpoint:
// they would be the unedited model, and loaders pick them by name.
#ifndef ER_WEIGHTS_FILE_H
#define ER_WEIGHTS_FILE_H
#include <stdint.h>

// What kind of weights the file of this name, open at `fd`, holds; NULL when it holds none. The bytes decide
// where a format has a mark: safetensors, PyTorch (zip and pickle), NumPy, Keras, HDF5, GGUF and its
// forerunners, flax, ONNX, TensorFlow Lite, CTranslate2, Git LFS pointers. Else the name does, a broken or
// split file's too. Optimiser state, indices of weights and settings of adapters count as weights; a
// tokenizer does not, be it a SentencePiece model, a pickle or a .bin.
const char *er_weights_kind(const char *name, int fd, uint64_t size);
#endif
