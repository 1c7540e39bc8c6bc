/* Chat templates and saved sessions: both come from others' files. A template that is taken must have a
 * default system text that stands in it; a session that was read must be the same when read again. */
#include "base/mem.h"
#include "chat/chat_internal.h"
#include "cli/conversation.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    ChatShape shape = {0};
    Conversation c = {0};
    Error err;
    if (chat_template_recognise(&shape, (const char *)data, size, &err) == ST_OK) {
        if (shape.default_system && strstr(shape.default_system, "<|im_end|>"))
            abort();
        mem_free(shape.default_system);
    }
    if (conversation_parse(&c, data, size, &err) == ST_OK) {
        for (size_t i = 0; i < c.count; i++)
            if (!c.items[i].content || (unsigned)c.items[i].role > CHAT_ASSISTANT)
                abort();
    } else if (c.count != 0) {
        abort();
    }
    conversation_free(&c);
    return 0;
}
