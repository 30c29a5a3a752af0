"""Chat templates in the styles in use, written for the tests with the markers of the families."""

# ruff: noqa: E501

CHATML = """\
{% for message in messages %}
{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}
{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

LLAMA_2 = """\
{{ bos_token }}{% set head = '' %}
{% if messages[0].role == 'system' %}
{% set head = '<<SYS>>\\n' + messages[0].content.strip() + '\\n<</SYS>>\\n\\n' %}{% set turns = messages[1:] %}
{% else %}{% set turns = messages %}{% endif %}
{% for turn in turns %}
{% if (turn.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}
{% if turn.role == 'user' %}
{{ '[INST] ' + (head if loop.first else '') + turn.content.strip() + ' [/INST]' }}
{% else %}{{ ' ' + turn.content.strip() + ' </s>' }}{% endif %}
{% endfor %}"""

LLAMA_3 = """\
{{ '<|begin_of_text|>' }}
{% set ns = namespace(system='', turns=messages) %}
{% if messages[0]['role'] == 'system' %}
{% set ns.system = messages[0]['content'] | trim %}{% set ns.turns = messages[1:] %}
{% endif %}
{{ '<|start_header_id|>system<|end_header_id|>\\n\\nCutting Knowledge Date: December 2023\\n\\n' }}
{% if tools %}{{ 'You can call these functions:\\n\\n' }}{% for tool in tools %}{{ tool | tojson(indent=4) + '\\n\\n' }}
{% endfor %}{% endif %}
{{ ns.system + '<|eot_id|>' }}
{% for message in ns.turns %}
{% if message.tool_calls is defined and message.tool_calls %}
{% if message.tool_calls | length != 1 %}{{ raise_exception('one tool call at a time') }}{% endif %}
{% set call = message.tool_calls[0].function %}
{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n{"name": "' + call.name + '", "parameters": ' }}
{{ call.arguments | tojson + '}<|eot_id|>' }}
{% elif message.role in ('tool', 'ipython') %}
{{ '<|start_header_id|>ipython<|end_header_id|>\\n\\n' }}
{% if message.content is mapping or message.content is iterable %}{{ message.content | tojson }}
{% else %}{{ message.content }}{% endif %}{{ '<|eot_id|>' }}
{% else %}
{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' + message.content | trim + '<|eot_id|>' }}
{% endif %}{% endfor %}
{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

GEMMA = """\
{{ bos_token }}
{% if messages[0].role == 'system' %}
{% set first = messages[0].content if messages[0].content is string else messages[0].content[0].text %}
{% set first = first + '\\n\\n' %}{% set turns = messages[1:] %}
{% else %}{% set first = '' %}{% set turns = messages %}{% endif %}
{% for turn in turns %}
{{ '<start_of_turn>' + ('model' if turn.role == 'assistant' else turn.role) + '\\n' + (first if loop.first else '') }}
{% if turn.content is string %}{{ turn.content | trim }}
{% else %}{% for part in turn.content %}{{ part.text | trim }}{% endfor %}{% endif %}
{{ '<end_of_turn>\\n' }}
{% endfor %}
{% if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""

QWEN_3 = """\
{% if tools %}
{{ '<|im_start|>system\\n' + (messages[0].content + '\\n\\n' if messages[0].role == 'system' else '') + '# Tools\\n<tools>' }}
{% for tool in tools %}{{ '\\n' + tool | tojson }}{% endfor %}{{ '\\n</tools><|im_end|>\\n' }}
{% elif messages[0].role == 'system' %}{{ '<|im_start|>system\\n' + messages[0].content + '<|im_end|>\\n' }}{% endif %}
{% set ns = namespace(asked=-1) %}
{% for message in messages %}{% if message.role == 'user' %}{% set ns.asked = loop.index0 %}{% endif %}{% endfor %}
{% for message in messages %}
{% set content = message.content if message.content is string else '' %}
{% if message.role == 'user' or (message.role == 'system' and not loop.first) %}
{{ '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>\\n' }}
{% elif message.role == 'assistant' %}
{% set reasoning = '' %}
{% if message.reasoning_content is string %}{% set reasoning = message.reasoning_content %}
{% elif '</think>' in content %}
{% set reasoning = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
{% set content = content.split('</think>')[-1].lstrip('\\n') %}
{% endif %}
{{ '<|im_start|>assistant\\n' }}
{% if loop.index0 > ns.asked and (loop.last or reasoning) %}
{{ '<think>\\n' + reasoning.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}
{% else %}{{ content }}{% endif %}
{% for call in message.tool_calls or [] %}
{{ ('\\n' if content or not loop.first else '') + '<tool_call>\\n{"name": "' + call.function.name + '", "arguments": ' }}
{{ call.function.arguments if call.function.arguments is string else call.function.arguments | tojson }}
{{ '}\\n</tool_call>' }}
{% endfor %}
{{ '<|im_end|>\\n' }}
{% elif message.role == 'tool' %}
{{ '<|im_start|>user\\n<tool_response>\\n' + content + '\\n</tool_response><|im_end|>\\n' }}
{% endif %}{% endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}
{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}"""

DEEPSEEK_R1 = """\
{{ bos_token }}{% for message in messages if message.role == 'system' %}{{ message.content }}{% endfor %}
{% for message in messages %}
{% if message.role == 'user' %}{{ '<|User|>' + message.content }}
{% elif message.role == 'assistant' and message.tool_calls %}
{{ '<|Assistant|><|tool|>' }}{% for call in message.tool_calls %}{{ call.function.name + '\\n' + call.function.arguments }}
{% endfor %}{{ '<|end|>' }}
{% elif message.role == 'assistant' %}
{{ '<|Assistant|>' + message.content.split('</think>')[-1] + '<|end|>' }}
{% elif message.role == 'tool' %}{{ '<|output|>' + message.content + '<|/output|>' }}{% endif %}
{% endfor %}
{% if add_generation_prompt %}{{ '<|Assistant|><think>\\n' }}{% endif %}"""

MISTRAL = """\
{{ bos_token }}{% set ns = namespace(system='', turns=messages) %}
{% if messages[0].role == 'system' %}{% set ns.system = messages[0].content + '\\n\\n' %}
{% set ns.turns = messages[1:] %}{% endif %}
{% if tools %}{{ '[AVAILABLE_TOOLS]' + tools | map(attribute='function') | list | tojson + '[/AVAILABLE_TOOLS]' }}{% endif %}
{% for turn in ns.turns %}
{% if turn.role == 'user' %}{{ '[INST]' + (ns.system if loop.last else '') + turn.content + '[/INST]' }}
{% elif turn.tool_calls %}{{ '[TOOL_CALLS][' }}
{% for call in turn.tool_calls %}{{ call.function | tojson + (', ' if not loop.last else ']' + eos_token) }}{% endfor %}
{% elif turn.role == 'assistant' %}{{ turn.content + eos_token }}
{% else %}{{ '[TOOL_RESULTS]{"content": ' + turn.content | string + '}[/TOOL_RESULTS]' }}{% endif %}
{% endfor %}"""

PHI = """\
{% for message in messages %}
{% if message.content %}{{ '<|' + message.role + '|>\\n' + message.content + '<|end|>\\n' }}{% endif %}
{% endfor %}
{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% else %}{{ eos_token }}{% endif %}"""

COMMAND_R = """\
{{ bos_token }}
{% if messages[0].role == 'system' %}{% set system = messages[0].content %}{% set turns = messages[1:] %}
{% else %}{% set system = 'You are an assistant.' %}{% set turns = messages %}{% endif %}
{{ '<|START|><|SYSTEM|>' + system }}
{% if documents %}{{ '\\n<results>' }}{% for document in documents %}
{{ '\\nDocument: ' ~ loop.index0 ~ '\\ntitle: ' + document.title + '\\n' + document.text }}{% endfor %}
{{ '\\n</results>' }}{% endif %}{{ '<|END|>' }}
{% for turn in turns %}
{{ '<|START|><|' + ('CHATBOT' if turn.role == 'assistant' else turn.role | upper) + '|>' + turn.content | trim + '<|END|>' }}
{% endfor %}
{% if add_generation_prompt %}{{ '<|START|><|CHATBOT|>' }}{% endif %}"""

GRANITE = """\
{% if messages[0].role != 'system' %}{{ '<|role|>system<|/role|>You are Granite.<|eot|>\\n' }}{% endif %}
{% if tools %}{{ '<|role|>available_tools<|/role|>' + tools | tojson(indent=2) + '<|eot|>\\n' }}{% endif %}
{% for message in messages %}
{% if message.role == 'assistant' and message.tool_calls %}
{{ '<|role|>assistant<|/role|>' + (message.content or '') + '<|tool_call|>' }}
{{ message.tool_calls | map(attribute='function') | list | tojson + '<|eot|>\\n' }}
{% else %}{{ '<|role|>' + message.role + '<|/role|>' + message.content + '<|eot|>\\n' }}{% endif %}
{% endfor %}
{% if add_generation_prompt %}{{ '<|role|>assistant<|/role|>' }}{% endif %}"""

PARTS_ONLY = """\
{% for message in messages %}{{ message.role | capitalize + ':' }}
{% for part in message.content %}{% if part.type == 'text' %}{{ ' ' + part.text | trim }}{% endif %}{% endfor %}
{{ '<end_of_utterance>\\n' }}{% endfor %}
{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"""

TEMPLATES = {
    "ChatML": CHATML, "Llama 2": LLAMA_2, "Llama 3.1": LLAMA_3, "Gemma": GEMMA, "Qwen 3": QWEN_3,
    "DeepSeek R1": DEEPSEEK_R1, "Mistral tekken": MISTRAL, "Phi": PHI, "Command R": COMMAND_R, "Granite": GRANITE,
    "parts only": PARTS_ONLY,
}  # fmt: skip
TOOLS = ("Llama 3.1", "Qwen 3", "Mistral tekken", "Granite")
