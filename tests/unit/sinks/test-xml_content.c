/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "base/buffer.h"
#include "sinks/xml_content.h"

static void well_formed(void **state) {
    static const char *const texts[] = {
        "",
        "text",
        "<a/>",
        "<a />",
        "<a></a >",
        "a<b>c</b>d<e/>",
        "<a b='1' c=\"2\" d = '&lt;\"'/>",
        "<n:a xmlns:n='u' n:b=''/>",
        "<\xc3\xa4 \xc3\xb6=''/>",
        "<!-- - > --><a/>",
        "<![CDATA[ <&]] ]]>",
        "<?pi?><?pi some <text> ?>",
        "&lt;&gt;&amp;&quot;&apos;&#38;&#x26;&#x10FFFF;",
        "<?xml version=\"1.0\"?><a/>",
        "<?xml version='1.0' encoding='utf-8' standalone='no' ?>\n<a/>",
        "]] >",
        "\t\r\n",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (!xml_is_content(span_of(texts[i]))) fail_msg("refused: %s", texts[i]);
}

static void others(void **state) {
    static const char *const texts[] = {
        "<",
        "<a",
        "<a>",
        "</a>",
        "<a></b>",
        "<a><b></a></b>",
        "< a/>",
        "<1/>",
        "<a b/>",
        "<a b=1/>",
        "<a b='/>",
        "<a b='<'/>",
        "<a b='&'/>",
        "<a b=''c=''/>",
        "<a b='' b=''/>",
        "<a/ >",
        "&",
        "&;",
        "&nbsp;",
        "&#0;",
        "&#xFFFE;",
        "&#xd800;",
        "&#12a;",
        "&#x110000;",
        "&#123456789;",
        "]]>",
        "<!-- -- -->",
        "<!--->",
        "<![CDATA[",
        "<?pi",
        "<?xml?>",
        " <?xml version='1.0'?><a/>",
        "<?xml version='1.1'?><a/>",
        "<?xml version='1.0' encoding='latin1'?><a/>",
        "<?xml version='1.0' what='ever'?><a/>",
        "<?XML version='1.0'?>",
        "<!DOCTYPE a><a/>",
        "<!ENTITY a 'b'>",
        "\x01",
        "<a b='\x02'/>",
        "<!--\x03-->",
        "\xef\xbf\xbf",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (xml_is_content(span_of(texts[i]))) fail_msg("accepted: %s", texts[i]);
}

static void depth_and_attributes_have_limits(void **state) {
    for (int depth = 200; depth <= 300; depth += 100) {
        Buffer text = {0};
        for (int i = 0; i < depth; i++) buffer_append_text(&text, "<a>");
        for (int i = 0; i < depth; i++) buffer_append_text(&text, "</a>");
        assert_int_equal(xml_is_content(buffer_span(&text)), depth == 200);
        buffer_clear(&text);
        buffer_append_text(&text, "<a");
        for (int i = 0; i < depth / 2; i++) buffer_printf(&text, " a%d=''", i);
        buffer_append_text(&text, "/>");
        assert_int_equal(xml_is_content(buffer_span(&text)), depth == 200);
        buffer_deinit(&text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_formed),
        cmocka_unit_test(others),
        cmocka_unit_test(depth_and_attributes_have_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
