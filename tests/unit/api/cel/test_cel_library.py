"""Every function of the libraries, as expressions that hold."""

from __future__ import annotations

import pytest

from edgekube.api.cel import CelError, compile_expression
from edgekube.api.cel import types as t

DOCUMENT = {
    "name": "app-1",
    "n": 3,
    "f": 1.5,
    "tags": ["a", "b"],
    "labels": {"team": "blue", "x.y/z": "1"},
    "nested": {"items": [{"k": "a", "v": 1}, {"k": "b", "v": 2}]},
    "nothing": None,
}

HOLD = """
1 + 2 == 3
7 / -2 == -3
7 % -2 == 1
-7 % 2 == -1
2 * 3 - 1 == 5
1u + 2u == 3u
5u / 2u == 2u
5u % 2u == 1u
1.5 + 1.5 == 3.0
1.0 / 0.0 > 1e300
'a' + 'b' == 'ab'
b'a' + b'b' == b'ab'
[1] + [2] == [1, 2]
-x.n == -3
!(x.n == 4)
1 < 2 && 2 <= 2 && 3 > 2 && 3 >= 3
'a' < 'b'
b'a' < b'b'
false < true
1 < 1.5 && 1u < 2 && 2.5 > 2
dyn(1) == 1.0 && dyn(1u) == 1
dyn('a') != 1
x.n in [1, 3]
'team' in x.labels
!('none' in x.labels)
x.tags[1] == 'b'
x.labels['team'] == 'blue'
x.labels.team == 'blue'
x.n == 3 ? true : false
size('äö') == 2 && 'abc'.size() == 3 && size(b'ab') == 2 && size([1]) == 1 && {'a': 1}.size() == 1
'hello'.contains('ell') && 'hello'.startsWith('he') && 'hello'.endsWith('lo')
'app-12'.matches('^[a-z]+-[0-9]+$') && matches('abc', 'b')
!'abc'.matches('^b')
bool('true') && bool('T') && !bool('0')
bytes('ä') == b'\\xc3\\xa4'
double('1.5') == 1.5 && double(2) == 2.0 && double(2u) == 2.0
int('42') == 42 && int(1.9) == 1 && int(3u) == 3 && int(timestamp('1970-01-01T00:01:00Z')) == 60
uint('4') == 4u && uint(4.7) == 4u && uint(4) == 4u
string(1) == '1' && string(1.5) == '1.5' && string(true) == 'true' && string(b'a') == 'a' && string(2u) == '2'
string(0.1) == '0.1' && string(100.0) == '100' && string(1e30) == '1e+30' && string(1.5e-7) == '1.5e-07'
string(duration('1m1.5s')) == '61.5s'
string(timestamp('2024-02-29T12:00:00.250Z')) == '2024-02-29T12:00:00.25Z'
type(1) == int && type('a') == string && type([1]) == list && type({'a': 1}) == map && type(null) == null_type
type(1u) == uint && type(1.0) == double && type(b'') == bytes && type(true) == bool && type(type(1)) == type
duration('1h') + duration('30m') == duration('90m')
duration('1h') - duration('30m') == duration('30m')
duration('90m').getHours() == 1 && duration('90m').getMinutes() == 90 && duration('2s').getSeconds() == 2
duration('1.5s').getMilliseconds() == 500
duration('1h') > duration('59m')
timestamp('2024-01-01T00:00:00Z') + duration('24h') == timestamp('2024-01-02T00:00:00Z')
timestamp('2024-01-02T00:00:00Z') - timestamp('2024-01-01T00:00:00Z') == duration('24h')
timestamp('2024-01-02T00:00:00Z') - duration('24h') == timestamp('2024-01-01T00:00:00+00:00')
timestamp('2024-03-01T10:20:30.5Z').getFullYear() == 2024
timestamp('2024-03-01T10:20:30.5Z').getMonth() == 2 && timestamp('2024-03-01T10:20:30.5Z').getDate() == 1
timestamp('2024-03-01T10:20:30.5Z').getDayOfMonth() == 0 && timestamp('2024-03-01T10:20:30.5Z').getDayOfYear() == 60
timestamp('2024-03-03T10:20:30.5Z').getDayOfWeek() == 0
timestamp('2024-03-01T10:20:30.5Z').getHours() == 10 && timestamp('2024-03-01T10:20:30.5Z').getMinutes() == 20
timestamp('2024-03-01T10:20:30.5Z').getSeconds() == 30 && timestamp('2024-03-01T10:20:30.5Z').getMilliseconds() == 500
timestamp('2024-03-01T23:20:30Z').getHours('+02:00') == 1
[1, 2, 3].all(i, i > 0) && ![1, 2].all(i, i > 1)
[1, 2, 3].exists(i, i == 2) && ![1].exists(i, i == 2)
[1, 2, 2].exists_one(i, i == 1) && ![1, 2, 2].exists_one(i, i == 2) && [1].existsOne(i, i == 1)
[1, 2, 3].map(i, i * 2) == [2, 4, 6]
[1, 2, 3].map(i, i > 1, i * 2) == [4, 6]
[1, 2, 3].filter(i, i > 1) == [2, 3]
x.labels.all(k, k != '') && x.labels.map(k, k).size() == 2
[1, 2].all(i, v, v == i + 1)
{'a': 1}.exists(k, v, k == 'a' && v == 1)
[5, 6].exists_one(i, v, i == 1 && v == 6)
[1, 2].transformList(i, v, i + v) == [1, 3]
[1, 2].transformList(i, v, i > 0, v) == [2]
{'a': 1, 'b': 2}.transformMap(k, v, v + 1) == {'a': 2, 'b': 3}
{'a': 1, 'b': 2}.transformMap(k, v, v > 1, v) == {'b': 2}
{'a': 'x'}.transformMapEntry(k, v, {v: k}) == {'x': 'a'}
x.nested.items.map(i, i.v).sum() == 3
x.nested.items.all(i, x.tags.exists(tag, tag == i.k))
has(x.name) && !has(x.other) && has(x.labels.team)
x.?name.orValue('') == 'app-1' && x.?other.orValue('none') == 'none'
x.?nested.?items[0].k.orValue('') == 'a'
x.labels[?'team'].value() == 'blue' && !x.labels[?'none'].hasValue()
[1, 2][?5].orValue(9) == 9
optional.of(1).hasValue() && optional.none() == optional.none() && optional.of(1) == optional.of(1)
optional.ofNonZeroValue('') == optional.none()
optional.none().or(optional.of(2)).value() == 2
optional.of(2).optMap(v, v * 2).value() == 4 && !optional.none().optMap(v, v).hasValue()
optional.of([1]).optFlatMap(v, v.first()).value() == 1
[optional.of(1), optional.none()].unwrapOpt() == [1]
optional.unwrap([optional.of(1), optional.none()]) == [1]
[1, 2].first().value() == 1 && [1, 2].last().value() == 2 && ![].first().hasValue()
[1, ?optional.none()] == [1] && {'a': 1, ?'b': optional.none()} == {'a': 1}
'tacocat'.charAt(3) == 'o' && 'tacocat'.charAt(7) == ''
'hello'.indexOf('l') == 2 && 'hello'.indexOf('l', 3) == 3 && 'hello'.indexOf('z') == -1 && 'hello'.indexOf('') == 0
'hello'.lastIndexOf('l') == 3 && 'hello'.lastIndexOf('l', 2) == 2 && 'hello'.lastIndexOf('') == 5
'TacoCÄT'.lowerAscii() == 'tacocÄt' && 'tacocät'.upperAscii() == 'TACOCäT'
'hello hello'.replace('he', 'we') == 'wello wello' && 'hello hello'.replace('he', 'we', 1) == 'wello hello'
'a b c'.split(' ') == ['a', 'b', 'c'] && 'a b c'.split(' ', 2) == ['a', 'b c'] && 'a b'.split(' ', 0) == []
'abc'.split('') == ['a', 'b', 'c']
'tacocat'.substring(4) == 'cat' && 'tacocat'.substring(0, 4) == 'taco'
'  trim \\n '.trim() == 'trim'
['a', 'b'].join() == 'ab' && ['a', 'b'].join('-') == 'a-b'
'%s is %s'.format(['a', 'b']) == 'a is b' && '%d%%'.format([5]) == '5%' && '%.2f'.format([1.234]) == '1.23'
'%x %X'.format([255, 255]) == 'ff FF' && '%b %o'.format([5, 8]) == '101 10' && '%e'.format([1052.0]) == '1.052000e+03'
'%s'.format([[1, 2]]) == '[1, 2]' && '%s'.format([{'a': 1}]) == '{"a":1}'
strings.quote('a"b\\n') == '"a\\\\"b\\\\n"'
[1, 2, 2].isSorted() && ![2, 1].isSorted() && ['a', 'b'].isSorted()
[1, 2].sum() == 3 && [1.5, 1.5].sum() == 3.0 && [duration('1s'), duration('1s')].sum() == duration('2s')
[2, 3, 1].min() == 1 && [2, 3, 1].max() == 3 && ['b', 'a'].min() == 'a'
[1, 2, 1].indexOf(1) == 0 && [1, 2, 1].lastIndexOf(1) == 2 && [1].indexOf(2) == -1
[1, 2, 3, 4].slice(1, 3) == [2, 3]
[[1], [2, 3]].flatten() == [1, 2, 3] && [[[1]], [[2]]].flatten(2) == [1, 2]
[3, 1, 2].sort() == [1, 2, 3] && ['b', 'a'].sort() == ['a', 'b']
lists.range(3) == [0, 1, 2] && [1, 2].reverse() == [2, 1] && [1, 2, 1].distinct() == [1, 2]
['bb', 'a'].sortBy(s, s.size()) == ['a', 'bb']
sets.contains([1, 2], [2]) && !sets.contains([1], [2]) && sets.equivalent([1, 1], [1]) && sets.intersects([1], [1, 2])
'abc 123'.find('[0-9]+') == '123' && 'abc'.find('[0-9]+') == '' && '1a22'.findAll('[0-9]+') == ['1', '22']
'1a22'.findAll('[0-9]+', 1) == ['1']
isQuantity('1Gi') && !isQuantity('1Gx') && quantity('1k') == quantity('1000')
quantity('1.5').isInteger() == false && quantity('5').asInteger() == 5 && quantity('50k').asApproximateFloat() == 50000.0
sign(quantity('-1')) == -1 && quantity('2').isGreaterThan(quantity('1')) && quantity('1').isLessThan(quantity('2'))
quantity('1').compareTo(quantity('2')) == -1 && quantity('1').add(quantity('1')) == quantity('2')
quantity('5').sub(2) == quantity('3') && quantity('5').add(1).sub(quantity('6')) == quantity('0')
isIP('10.0.0.1') && isIP('::1') && !isIP('10.0.0.256') && !isIP('::ffff:1.2.3.4')
ip('10.0.0.1').family() == 4 && ip('::1').family() == 6 && string(ip('10.0.0.1')) == '10.0.0.1'
ip('0.0.0.0').isUnspecified() && ip('127.0.0.1').isLoopback() && ip('169.254.1.1').isLinkLocalUnicast()
ip('224.0.0.1').isLinkLocalMulticast() && ip('ff02::1').isLinkLocalMulticast() && !ip('ff05::1').isLinkLocalMulticast()
ip('192.168.0.1').isGlobalUnicast() && !ip('255.255.255.255').isGlobalUnicast() && ip('2001:db8::1').isGlobalUnicast()
ip.isCanonical('::1') && !ip.isCanonical('0:0:0:0:0:0:0:1')
isCIDR('10.0.0.0/8') && !isCIDR('10.0.0.0') && !isCIDR('10.0.0.0/33')
cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.0.0.0/8').containsIP(ip('11.0.0.1'))
cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && !cidr('10.1.0.0/16').containsCIDR(cidr('10.0.0.0/8'))
cidr('10.1.2.3/8').ip() == ip('10.1.2.3') && cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')
cidr('10.0.0.0/8').prefixLength() == 8 && string(cidr('10.0.0.0/8')) == '10.0.0.0/8'
isURL('https://example.org/a?b=c') && isURL('/path') && !isURL('example.org') && !isURL('https://a b/')
url('https://u:p@example.org:80/a%20b?x=1&x=2&y=').getHost() == 'example.org:80'
url('https://example.org:80/').getHostname() == 'example.org' && url('https://example.org:80/').getPort() == '80'
url('https://[::1]:80/').getHostname() == '::1' && url('https://[::1]/').getHost() == '[::1]'
url('https://example.org/a b').getEscapedPath() == '/a%20b' && url('/p').getScheme() == ''
url('https://e.org/?x=1&x=2').getQuery() == {'x': ['1', '2']}
!format.dns1123Label().validate('ok').hasValue() && format.dns1123Label().validate('Not').hasValue()
format.named('uuid').value().validate('no').value() == ['does not match the UUID format']
!format.named('nope').hasValue() && !format.dns1123LabelPrefix().validate('a-').hasValue()
!format.qualifiedName().validate('a.b/c').hasValue() && !format.labelValue().validate('').hasValue()
format.byte().validate('!').value() == ['invalid base64'] && !format.date().validate('2024-02-29').hasValue()
format.datetime().validate('x').value() == ['invalid datetime'] && !format.uri().validate('https://a').hasValue()
semver('1.2.3').major() == 1 && semver('1.2.3').minor() == 2 && semver('1.2.3').patch() == 3
isSemver('1.0.0-alpha+b') && !isSemver('1.0') && isSemver('v1.0', true) && semver('v01.2', true) == semver('1.2.0')
semver('1.0.0-alpha').isLessThan(semver('1.0.0')) && semver('1.0.0').compareTo(semver('1.0.0')) == 0
semver('1.0.0-2').isLessThan(semver('1.0.0-10')) && semver('1.0.0-a').isGreaterThan(semver('1.0.0-9'))
semver('1.0.0+a') == semver('1.0.0+b')
r'\\d' == '\\\\d' && '\\u00e4' == 'ä' && \"\"\"a
b\"\"\" == 'a\\nb'
x.labels.`x.y/z` == '1'
0x1F == 31 && .5 == 0.5 && 1e3 == 1000.0
true // and a comment
x.nothing == null
"""


def expressions() -> list[str]:
    """The lines; one that ends a text in three quotes goes on from the one before it."""
    found: list[str] = []
    for line in HOLD.strip().split("\n"):
        if line.startswith('b"""'):
            found[-1] += f"\n{line}"
        else:
            found.append(line)
    return found


@pytest.mark.parametrize("text", expressions())
def test_holds(text: str) -> None:
    assert compile_expression(text, {"x": t.DYN}).evaluate({"x": DOCUMENT}) is True


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 / 0 == 1", "division by zero"),
        ("1 % 0 == 1", "modulus by zero"),
        ("9223372036854775807 + 1 == 0", "integer overflow"),
        ("0u - 1u == 0u", "unsigned integer overflow"),
        ("int('x') == 1", "type conversion error from 'string' to 'int'"),
        ("int(1e30) == 1", "integer overflow"),
        ("x.other == 1", "no such key: other"),
        ("x.tags[5] == 'a'", "index out of bounds: 5"),
        ("x.labels['z'] == 'a'", "no such key: z"),
        ("x.name + 1 == 4", "no such overload"),
        ("x.n.all(i, i)", "no such overload"),
        ("optional.none().value() == 1", "optional.none() dereference"),
        ("[1][0] == [1].max() && [].max() == 1", "max called on empty list"),
        ("'abc'.charAt(9) == ''", "index out of range: 9"),
        ("'abc'.substring(2, 1) == ''", "invalid substring range. start: 2, end: 1"),
        ("[1].slice(0, 5) == []", "cannot slice(0, 5), list is length 1"),
        ("quantity('x') == quantity('1')", "quantities must match the regular expression"),
        ("ip('x').family() == 4", 'IP Address "x" parse error'),
        ("cidr('1.2.3.4').prefixLength() == 1", "network address parse error"),
        (
            "url('x').getHost() == ''",
            'URL parse error during conversion from string: parse "x": invalid URI for request',
        ),
        ("semver('1').major() == 1", "No Major.Minor.Patch elements found"),
        ("semver('01.0.0').major() == 1", 'Major number must not contain leading zeroes "01"'),
        ("'%d'.format(['a']) == ''", "error during formatting"),
        ("{'a': 1, x.tags[0]: 2}.size() == 1", "Failed with repeated key: a"),
        ("x.name.matches(x.name + '(')", "error parsing regexp"),
        ("timestamp(x.name) == timestamp('2020-01-01T00:00:00Z')", "type conversion error from 'string'"),
        (
            "timestamp('9999-12-31T00:00:00Z') + duration('48h') != timestamp('2020-01-01T00:00:00Z')",
            "timestamp overflow",
        ),
    ],
)
def test_fails(text: str, words: str) -> None:
    program = compile_expression(text, {"x": t.DYN})
    with pytest.raises(CelError) as failure:
        program.evaluate({"x": DOCUMENT})
    assert words in str(failure.value)


def test_errors_give_way_to_what_decides() -> None:
    for text, expected in (
        ("x.other == 1 || true", True),
        ("true || x.other == 1", True),
        ("x.other == 1 && false", False),
        ("false && x.other == 1", False),
        ("[0, 1].exists(i, 1 / i == 1)", True),
        ("[0, 1].all(i, 1 / i == 2)", False),
    ):
        assert compile_expression(text, {"x": t.DYN}).evaluate({"x": DOCUMENT}) is expected, text
    with pytest.raises(CelError, match="division by zero"):
        compile_expression("[0, 1].all(i, 1 / i == 1)", {}).evaluate({})
