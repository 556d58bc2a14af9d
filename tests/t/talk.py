# A handle of libtradekeep that does what it is told, line by line, and answers each with a line.

import ctypes, sys

library = ctypes.CDLL('libtradekeep.so')


class Answer(ctypes.Structure):
    _fields_ = [('tier', ctypes.c_int), ('latency', ctypes.c_int64), ('degraded', ctypes.c_int)]


library.tk_open.restype = ctypes.c_void_p
for name in 'tk_verdict_name', 'tk_tier_name', 'tk_metrics_json', 'tk_sqlstate', 'tk_message':
    getattr(library, name).restype = ctypes.c_char_p
client = ctypes.c_void_p(library.tk_open(None))

for line in sys.stdin:
    word, *words = line.split()
    words = [each.encode() for each in words]
    if word == 'claim':
        answer = Answer()
        verdict = library.tk_claim(client, *words, ctypes.c_int64(3600000), ctypes.byref(answer))
        said = b'%s by %s %s' % (library.tk_verdict_name(verdict), library.tk_tier_name(answer.tier),
                                 library.tk_sqlstate(client))
    elif word == 'release':
        said = b'%d' % library.tk_release(client, *words, None)
    elif word == 'resync':
        said = b'%d' % library.tk_resync(client)
    elif word == 'quit':
        library.tk_close(client)
        break
    else:
        said = library.tk_metrics_json(client)
    print(said.decode().strip(), flush=True)
