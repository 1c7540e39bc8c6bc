/* models/catalogue.json as bytes of the program. The assembler finds the file from the checkout's root, where
 * make runs; the Makefile knows that this object depends on it. */
#include "store/catalogue_data.h"

__asm__(".pushsection .rodata\n"
        ".global catalogue_data_begin\n"
        ".hidden catalogue_data_begin\n"
        "catalogue_data_begin:\n"
        ".incbin \"models/catalogue.json\"\n"
        ".global catalogue_data_end\n"
        ".hidden catalogue_data_end\n"
        "catalogue_data_end:\n"
        ".byte 0\n"
        ".popsection\n");
