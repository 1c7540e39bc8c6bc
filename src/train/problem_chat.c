/* Ordinary questions, which a model for arithmetic cannot answer: greetings, questions about itself, about the
 * world, requests, small talk, words that are none. Training makes them from templates; the test is a list of
 * questions that were written for themselves and that no template makes. */
#include "train/problem_text.h"

#include "base/mem.h"

#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define ONE_OF(list, rng) ((list)[rng_below((rng), COUNT(list))])

static const char *const topics[] = {
    "music", "history", "the sea", "football", "cooking", "love", "the moon", "dogs", "cats", "school", "money", "art", "war",
    "space", "trees", "coffee", "tea", "sleep", "computers", "the weather", "politics", "fish", "travel", "cars", "trains",
    "physics", "chemistry", "poetry", "dreams", "winter", "summer", "rain", "snow", "birds", "horses", "rivers", "mountains",
    "philosophy", "religion", "health", "medicine", "law", "economics", "painting", "dance", "film", "chess", "games",
    "gardens", "bread", "cheese", "wine", "friendship", "death", "time", "language", "fire", "ships", "castles", "robots",
    "dinosaurs", "volcanoes", "the brain", "the heart", "democracy", "fashion", "photography", "tennis", "basketball",
    "insects", "bees", "spiders", "whales", "islands", "deserts", "cities", "bridges", "clocks", "kings", "pirates",
};
static const char *const places[] = {
    "France", "Italy", "Spain", "Brazil", "China", "India", "Egypt", "Kenya", "Canada", "Mexico", "Peru", "Chile", "Norway",
    "Sweden", "Poland", "Greece", "Turkey", "Iran", "Thailand", "Vietnam", "Korea", "Cuba", "Ireland", "Scotland", "Portugal",
    "Finland", "Hungary", "Morocco", "Nigeria", "Argentina", "Austria", "Texas", "London", "Berlin", "Rome", "Madrid",
};
static const char *const people[] = {
    "Newton", "Mozart", "Napoleon", "Cleopatra", "Gandhi", "Darwin", "Plato", "Picasso", "Caesar", "Lincoln", "Bach",
    "Curie", "Tesla", "Galileo", "Columbus", "Socrates", "Homer", "Dante", "Goethe", "Kafka", "Tolstoy", "Beethoven",
    "Churchill", "Edison", "Aristotle", "Confucius", "Buddha", "Marie", "the king", "the president", "my neighbour",
};
static const char *const tools[] = {
    "telephone", "light bulb", "wheel", "printing press", "steam engine", "radio", "internet", "bicycle", "camera", "compass",
    "piano", "telescope", "airplane", "paper", "glass", "gunpowder", "zipper", "microscope", "guitar", "battery",
};
static const char *const forms[] = {
    "poem", "story", "song", "letter", "joke", "essay", "speech", "report", "haiku", "summary", "email", "recipe", "riddle",
    "dialogue", "slogan", "diary entry", "short text", "headline", "fairy tale", "blog post",
};
static const char *const tongues[] = {"French", "German", "Spanish", "Latin", "Chinese", "Japanese", "Russian", "Arabic",
                                      "Italian", "Greek", "Dutch", "Polish", "Turkish", "Hindi", "Swedish"};
static const char *const feelings[] = {"tired", "happy", "sad", "hungry", "bored", "angry", "sick", "lonely", "busy", "cold",
                                       "late", "afraid", "in love", "lost", "fine", "curious", "awake"};
static const char *const codes[] = {"Python", "C", "Java", "Rust", "Haskell", "JavaScript", "SQL", "Go", "Lisp", "Perl"};
static const char *const sames[] = {"car", "house", "friend", "mother", "dog", "cat", "boss", "garden", "computer", "phone",
                                    "teacher", "sister", "brother", "job", "head", "back", "bike", "boat"};

static const char *const greetings[] = {
    "[Hello|Hi|Hey|Hallo|Hey there|Hi there|Hello there][|!|.|, how are you?|, who are you?|, what's up?]",
    "Good [morning|day|evening|afternoon|night][|!|.]", "[How are you|How's it going|What's up|How do you do][?|]",
    "[Thanks|Thank you|Bye|Goodbye|See you|Cheers|Ok|Okay|Yes|No|Please|Help|Help me|Test|Welcome][|!|.]",
    "[Nice|Good|Great] to [meet|see] you[|!|.]", "[Hello|Hi|Hey], I am {N}[|.|!]", "My name is {N}[|.]",
};
static const char *const selves[] = {
    "Who [are you|made you|built you|trained you|created you][?|]", "What [are you|can you do|do you do|do you know|are you for|is your name|is your purpose][?|]",
    "[Are you|So are you] [a human|a robot|an AI|a machine|alive|a person|smart|real|ChatGPT|DeepSeek][?|]",
    "[Can|Could] you [help me|talk|speak {L}|write|think|sing|see|hear me|write {X} code][?|]", "Tell me about yourself[.|]",
    "[How|When|Where|Why] were you [made|built|trained][?|]", "How [old|big|smart|fast] are you[?|]", "What is your favourite [food|colour|song|book|film|animal][?|]",
    "Do you [like|love|hate|know|understand] {T}[?|]", "[Do you have|Have you got] [feelings|a name|friends|a body|parents][?|]",
    "What model are you[?|]", "Introduce yourself[.|]", "What [kind|sort] of [model|program|AI] are you[?|]",
};
static const char *const worlds[] = {
    "What is the [capital|language|flag|largest river|population|king|currency] of {C}[?|]",
    "[Where is|How do I get to|What can I see in|Is it warm in|What do people eat in] {C}[?|]",
    "Who [was|is] {E}[?|]", "[When|Where] was {E} born[?|]", "What did {E} [do|write|say about {T}|think of {T}][?|]",
    "Who invented the {I}[?|]", "How does [a|the] {I} work[?|]", "When was the {I} invented[?|]",
    "[What is|Explain|Tell me about|What do you know about|Describe|Why do people like|Define] {T}[?|.|]",
    "[Why|How|When] [is|was|does] {T} [important|so popular|made|work|change|begin][?|]", "What is the [history|meaning|future|origin] of {T}[?|]",
    "What is the difference between {T} and {S}[?|]", "Which is better, {T} or {S}[?|]", "What happened in {C} in 1{y}[?|]",
    "Who won the [cup|race|war|election] in {C} in 19{h}[?|]", "What does {z} mean[?|]", "How do you spell {z}[?|]", "What is [a|the] {z}[?|]",
    "Who is {Z}[?|]", "Where is {Z}[?|]",
};
static const char *const requests[] = {
    "[Write|Write me|Give me|Make|Compose|I need|Can you write|Please write] a {F} about {T}[.|]",
    "[Write|Make|Give me] a {F} [for my {M}|in {L}|about my {M}][.|]", "[Translate|Say] {z} [into|in] {L}[.|]",
    "How do you say {z} in {L}[?|]", "Tell me [a joke|a story|something|something about {T}|the news|a secret|the time][.|]",
    "[Recommend|Suggest] [a book|a film|a song|a game|something] [about|on] {T}[.|]", "[Summarise|Correct|Rewrite|Improve|Continue] [this|my] {F}[.|]",
    "Write a {X} [program|function|script] [that prints {z}|about {T}|for my {M}][.|]", "How do I [learn|fix|clean|sell|find|draw|cook|buy] [{T}|a {I}|my {M}][?|]",
    "[Give me|List] [some|a few|the best] [ideas|tips|facts|books|words] [about|for|on] {T}[.|]", "Draw [a|me a] {I}[.|]",
    "Play [some music|a game|chess with me|{z}][.|]", "[Repeat after me:|Say|Spell] {z}[.|]", "Open the [door|file|window|website][.|]",
};
static const char *const talks[] = {
    "I am {G}[.|]", "I feel {G}[ today|][.|]", "[I like|I love|I hate|I think about|Let us talk about] {T}[.|]",
    "My {M} is {G}[.|]", "[Should I|Can I|When can I] [go out|sleep|eat|buy a {I}|move to {C}|learn {L}][?|]",
    "What should I [eat|wear|do|read|watch|buy|say to my {M}] [today|tonight|tomorrow|][?|]", "Is [{T}|my {M}|{E}|{C}] [good|bad|old|nice|dead|dangerous][?|]",
    "What time is it[?| in {C}?]", "What [day|year|date] is it[?|]", "[How is|What is] the weather [today|in {C}|tomorrow][?|]",
    "Why [am I|are you|is my {M}|is {E}] [so |]{G}[?|]", "{z}[?|!|.|]", "{z} {T}[?|]", "{Z} {z}[?|]", "[Where|Who|What] is my {M}[?|]",
    "Does {E} like {T}[?|]", "Have you [seen|met|read] {E}[?|]", "[What do you think|How do you feel] about {T}[?|]", "{T}[?|]", "{C}[?|]",
};

/* {y} three digits, {h} two, {z} {Z} words that are none, {N} a name of somebody. */
static Status give_slots(Wording *w, Rng *rng, ByteBuf *spoken)
{
    Status st = ST_OK;
    static const char *const somebody[] = {"Tom", "Anna", "Ben", "Mia", "Kim", "Otto", "Ines", "Jose", "Lars", "Mei"};
    wording_numbers(w, 0, 0, 0);
    w->slot['T'] = ONE_OF(topics, rng);
    do
        w->slot['S'] = ONE_OF(topics, rng);
    while (w->slot['S'] == w->slot['T']);
    w->slot['C'] = ONE_OF(places, rng);
    w->slot['E'] = ONE_OF(people, rng);
    w->slot['I'] = ONE_OF(tools, rng);
    w->slot['F'] = ONE_OF(forms, rng);
    w->slot['L'] = ONE_OF(tongues, rng);
    w->slot['G'] = ONE_OF(feelings, rng);
    w->slot['X'] = ONE_OF(codes, rng);
    w->slot['M'] = ONE_OF(sames, rng);
    w->slot['N'] = ONE_OF(somebody, rng);
    size_t at[4];
    for (int i = 0; i < 2; i++) {
        at[i] = spoken->count;
        TRY(wording_nonsense(rng, spoken));
        TRY(bytebuf_append(spoken, "", 1));
    }
    at[2] = spoken->count;
    TRY(bytebuf_printf(spoken, "%03d", (int)rng_below(rng, 1000)));
    TRY(bytebuf_append(spoken, "", 1));
    at[3] = spoken->count;
    TRY(bytebuf_printf(spoken, "%02d", (int)rng_below(rng, 100)));
    TRY(bytebuf_append(spoken, "", 1));
    char *const text = (char *)spoken->data;
    if (text[at[1]] >= 'a' && text[at[1]] <= 'z')
        text[at[1]] = (char)(text[at[1]] - 'a' + 'A');
    w->slot['z'] = text + at[0];
    w->slot['Z'] = text + at[1];
    w->slot['y'] = text + at[2];
    w->slot['h'] = text + at[3];
out:
    return st;
}

Status wording_chat(Rng *rng, ByteBuf *out)
{
    Wording w = {0};
    ByteBuf spoken = {0};
    Status st = give_slots(&w, rng, &spoken);
    const uint64_t k = rng_below(rng, 16);
    const char *const text = k < 2    ? ONE_OF(greetings, rng)
                             : k < 5  ? ONE_OF(selves, rng)
                             : k < 9  ? ONE_OF(worlds, rng)
                             : k < 12 ? ONE_OF(requests, rng)
                                      : ONE_OF(talks, rng);
    if (st == ST_OK)
        st = wording_fill(&w, text, rng, out);
    bytebuf_free(&spoken);
    return st;
}

const char *const chat_test_questions[CHAT_TEST_COUNT] = {
    "Hello, can you hear me?", "Hi! What should I call you?", "Good morning, did you sleep well?", "Hey, long time no see!",
    "Greetings from the north.", "Who am I talking to?", "What is this program?", "Which company do you belong to?",
    "What are your limits?", "Can I ask you anything?", "What would you like to do today?", "Do you ever get bored?",
    "Are you better than other models?", "What language were you written in?", "How do I use you?",
    "Why is the sky blue?", "What is the tallest mountain in the world?", "Who painted the Mona Lisa?",
    "Who wrote Romeo and Juliet?", "What causes earthquakes?", "How do airplanes stay in the air?",
    "What is photosynthesis?", "When did the Roman Empire fall?", "Who was the first person on the moon?",
    "Which planet is closest to the sun?", "What do pandas eat?", "How long do turtles live?", "What is DNA?",
    "Where does chocolate come from?", "Why do leaves turn red in autumn?", "What is the speed of light?",
    "Who discovered penicillin?", "What is the boiling point of water?", "How many legs does a spider have?",
    "What is the longest river in Africa?", "When does spring begin?", "Why do cats purr?", "What is inflation?",
    "How does a refrigerator keep food cold?", "What makes a rainbow?", "Which ocean is the deepest?",
    "What is the capital of Australia?", "What is the capital of Japan?", "Who is the queen of Denmark?",
    "What language do they speak in Quebec?", "Tell me about the French Revolution.", "What started the First World War?",
    "Write a limerick about a lazy goose.", "Write a birthday card for my grandmother.", "Draft a letter of resignation.",
    "Give me three names for a kitten.", "Suggest a title for my novel.", "Plan a weekend in Paris for me.",
    "Describe a sunset over the harbour.", "Invent a new holiday.", "Turn this sentence into a question.",
    "Translate good night into Portuguese.", "How do you say butterfly in German?", "What rhymes with orange?",
    "Give me a synonym for beautiful.", "What is the plural of mouse?", "Fix the grammar in my homework.",
    "Write a loop in JavaScript.", "How do I reverse a string in Python?", "What is a pointer in C?",
    "Explain recursion to a child.", "My laptop will not start. What now?", "How do I install Linux?",
    "What is the best way to learn guitar?", "How do I make pancakes?", "How long should I boil an egg?",
    "What can I cook with spinach and rice?", "Is olive oil healthy?", "How do I get rid of a headache?",
    "Why can't I fall asleep?", "Should I see a doctor about my knee?", "How much water should I drink?",
    "What is a good present for a ten year old?", "Which film should we watch tonight?", "Do you know any good podcasts?",
    "Who won the football match yesterday?", "What is the news today?", "Will it rain on Saturday?",
    "What is the price of gold?", "Is the museum open on Sundays?", "Where can I park near the station?",
    "Book me a table for two.", "Set an alarm for seven o'clock.", "Turn off the lights in the kitchen.",
    "Send a message to my brother.", "I had an argument with my best friend.", "My dog ate my shoes.",
    "I am nervous about my exam.", "I just got a new job!", "Nobody understands me.", "What is the meaning of life?",
    "Is there life on other planets?", "Do ghosts exist?", "What came first, the chicken or the egg?",
    "Can you keep a secret?",
};
