"""60 natural prompts, 12 of each kind; the target of each is the model's own first choice (None)."""

PROMPTS = {
    "short": [
        "When Mary and John went to the store, John gave a drink to",
        "The capital of France is",
        "The keys to the cabinet near the door",
        "My grandmother always bakes an apple",
        "Water freezes at zero degrees",
        "She opened the umbrella because it was starting to",
        "The opposite of hot is",
        "After ten years in prison he was finally",
        "A week has seven",
        "The author that the critics admire never",
        "Two plus three equals",
        "The doctor told the nurse that",
    ],
    "prose": [
        "The old lighthouse had stood on the cliff for more than a century, and although no ship had needed its lamp in "
        "decades, the keeper still climbed the stairs every",
        "Photosynthesis is the process by which plants turn sunlight, water and carbon dioxide into sugar and",
        "When the committee met on Tuesday, its members agreed that the bridge was unsafe. They voted to close it until the "
        "spring, when the engineers would come back to inspect the",
        "Anna put the letter in the drawer and locked it. Two days later her brother broke the lock, took out the",
        "The recipe is simple: beat three eggs with a spoon of sugar, add a cup of flour and some milk, stir until it is "
        "smooth, and then fry the batter in a hot",
        "Most birds that nest in the far north leave before winter comes; those that stay have thick feathers and find their "
        "food under the",
        "He had promised his daughter that he would be home before dinner. But the train was late, the phone was dead, and by "
        "the time he reached the house all of the lights were",
        "Inflation fell for the third month in a row, the statistics office said on Friday, which makes it more likely that "
        "the central bank will cut interest",
        "The museum's new wing, which cost forty million euros, holds paintings by women whose work was long ignored by",
        '"I don\'t think we should go in there," whispered Tom. His sister laughed, pushed the gate open and walked into the',
        "A good map leaves things out. The one that shows every stone and every tree is as large as the country itself, and "
        "nobody can fold it and put it in a pocket. The one that shows only the roads is of little use to a walker, and so "
        "each map is made for somebody, who wants to",
        "During the night the river rose by two metres and flooded the lower part of the town. In the morning firemen in "
        "rubber boats brought the people from their roofs to the school, where volunteers gave them blankets and hot "
        "soup. By noon the rain had stopped, and the water slowly went back into its",
    ],
    "few-shot and code": [
        "cat: animal\nrose: plant\nsparrow: animal\noak:",
        "English: dog\nFrench: chien\n\nEnglish: house\nFrench: maison\n\nEnglish: bread\nFrench:",
        'def add(a, b):\n    """Return the sum of a and b."""\n    return a +',
        "for i in range(10):\n    if i % 2 == 0:\n        print(",
        "Review: I loved every minute of it.\nMood: positive\nReview: The plot made no sense.\nMood: negative\n"
        "Review: What a wonderful cast!\nMood:",
        "import numpy as np\n\nx = np.linspace(0, 1, 50)\ny = np.sin(x)\nprint(y.",
        "Q: What is 3 + 4?\nA: 7\nQ: What is 6 + 2?\nA: 8\nQ: What is 5 + 4?\nA:",
        "SELECT name, age FROM customers WHERE age > 30 ORDER BY",
        '{"name": "Lena", "age": 31, "city": "Oslo"}\n{"name": "Omar", "age": 27, "city": "Cairo"}\n{"name": "Ines", "age":',
        "big -> small\nfast -> slow\nlight -> dark\nopen ->",
        "class Stack:\n    def __init__(self):\n        self.items = []\n\n    def push(self, item):\n        self.items.",
        "<ul>\n  <li>Milk</li>\n  <li>Eggs</li>\n  <li>Bread</",
    ],
    "languages": [
        "La capitale de l'Italie est",
        "El perro corre por el parque porque quiere atrapar la",
        "Der Lehrer sagte den Kindern, dass sie morgen früh in die",
        "Quando chegou a casa, o menino abriu a porta e viu o",
        "Столица России — это город",
        "今天天气很好，我们一起去公园",
        "東京は日本の",
        "Η Αθήνα είναι η πρωτεύουσα της",
        "القاهرة هي عاصمة",
        "भारत की राजधानी",
        "서울은 대한민국의",
        "Ankara Türkiye'nin başkentidir, ama en kalabalık şehri",
    ],
    "chat": [
        [{"role": "user", "content": "What is the capital of Spain?"}],
        [{"role": "user", "content": "Name three fruits that are red."}],
        [{"role": "user", "content": "Translate 'good morning' into French."}],
        [
            {"role": "system", "content": "You answer in one word."},
            {"role": "user", "content": "Is the sun a star or a planet?"},
        ],
        [
            {"role": "user", "content": "My name is Clara."},
            {"role": "assistant", "content": "Nice to meet you, Clara!"},
            {"role": "user", "content": "What is my name?"},
        ],
        [{"role": "user", "content": "Write a short poem about the sea."}],
        [
            {"role": "system", "content": "You are a pirate."},
            {"role": "user", "content": "Where did you hide the treasure?"},
        ],
        [
            {
                "role": "user",
                "content": "Is this review positive or negative? 'The food was cold and the waiter was rude.'",
            }
        ],
        [{"role": "user", "content": "How many legs does a spider have?"}],
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Give me a colour."},
            {"role": "assistant", "content": "Blue."},
            {"role": "user", "content": "And another one?"},
        ],
        [{"role": "user", "content": "Correct the mistake: She go to school every day."}],
        [{"role": "user", "content": "Why do leaves turn yellow in autumn? Explain it to a child in one sentence."}],
    ],
}
