/* The catalogue built into the program: the bytes from begin to end. Internal. */
#ifndef PLUMB_STORE_CATALOGUE_DATA_H
#define PLUMB_STORE_CATALOGUE_DATA_H

extern const char catalogue_data_begin[], catalogue_data_end[];

#endif
