"""Result pages written for these tests. SYNTHETIC: none was recorded from a search engine."""

import base64

_PACKED = base64.urlsafe_b64encode(b"https://example.org/b?x=1").decode().rstrip("=")

GOOGLE = """
<html><body><!-- synthetic -->
<div id="tads"><div><a href="https://ads.example/"><h3>Advertisement</h3></a></div></div>
<div id="search">
<div class="g"><div><a href="/url?q=https://example.org/a&sa=U"><h3>First  hit</h3></a></div>
<div class="VwiC3b">About the first.</div></div>
<div class="g"><div><a href="https://www.google.com/aclk?x"><h3>Paid hit</h3></a></div></div>
<div class="g"><div><a href="https://example.org/b"><h3>Second hit</h3></a></div>
<div class="VwiC3b">About the second.</div></div>
<div class="g"><div><a href="http://www.example.org/b/"><h3>Second hit again</h3></a></div></div>
<div class="g"><div><a href="javascript:void(0)"><h3>No address</h3></a></div></div>
</div></body></html>
"""

BING = f"""
<html><body><!-- synthetic --><ol id="b_results">
<li class="b_ad"><h2><a href="https://ads.example/">Advertisement</a></h2></li>
<li class="b_algo"><h2><a href="https://example.org/a">First hit</a></h2>
<div class="b_caption"><p>About the first.</p></div></li>
<li class="b_algo"><h2><a href="https://www.bing.com/ck/a?!&&p=1&u=a1{_PACKED}&ntb=1">Second</a></h2>
<div class="b_caption"><p>About the second.</p></div></li>
<li class="b_algo"><h2><a href="https://www.bing.com/aclick?ld=x">Paid hit</a></h2></li>
</ol></body></html>
"""

BAIDU = """
<html><body><!-- synthetic --><div id="content_left">
<div class="result c-container" mu="https://example.org/a"><h3 class="t">
<a href="http://www.baidu.com/link?url=abc">第一</a></h3>
<span class="content-right_8Zs40">摘要一</span></div>
<div class="result c-container"><h3 class="t">
<a href="http://www.baidu.com/link?url=def">第二</a></h3><div class="c-abstract">摘要二</div></div>
<div class="result c-container"><span class="ec-tuiguang">广告</span><h3>
<a href="http://www.baidu.com/link?url=ad">广告</a></h3></div>
</div></body></html>
"""

DUCKDUCKGO = """
<html><body><!-- synthetic --><div class="results">
<div class="result result--ad"><a class="result__a" href="https://duckduckgo.com/y.js?ad_domain=x">
Advertisement</a></div>
<div class="result"><h2><a class="result__a"
href="//duckduckgo.com/l/?uddg=https%3A%2F%2Fexample.org%2Fa%3Fx%3D1&rut=1">First hit</a></h2>
<a class="result__snippet">About the <b>first</b>.</a></div>
<div class="result"><h2><a class="result__a" href="https://example.org/b">Second hit</a></h2></div>
</div></body></html>
"""

DUCKDUCKGO_LITE = """
<html><body><!-- synthetic --><table>
<tr><td>1.</td><td><a class="result-link" href="https://example.org/a">First hit</a></td></tr>
<tr><td></td><td class="result-snippet">About the first.</td></tr>
</table></body></html>
"""

GOOGLE_CAPTCHA = (
    "<html><body>Our systems have detected unusual traffic<form id='captcha-form'/></body>"
)
GOOGLE_CONSENT = "<html><body><h1>Before you continue to Google Search</h1></body></html>"
GOOGLE_SCRIPT = '<noscript><meta content="0;url=/httpservice/retry/enablejs?sei=x"></noscript>'
BAIDU_CAPTCHA = "<html><title>百度安全验证</title></html>"
DUCKDUCKGO_CAPTCHA = '<div class="anomaly-modal__title">Please complete the following</div>'
